//! Small models, well and badly formed, and whole ones.

mod builder;
mod external;
mod graphs;
mod networks;
mod operators;
mod qonnx;
mod quantizers;
mod shapes;
