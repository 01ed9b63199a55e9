//! The command line of `heq-run`.

use crate::session::WEIGHT_CACHE_BYTES;
use clap::{Parser, ValueEnum};
use heq_net::shaped::LinkProfile;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  heq-run --plan plan.heq --role server --listen 0.0.0.0:7443
  heq-run --plan plan.heq --role client --connect server.example:7443 --input digit.png
  heq-run --plan plan.heq --role local --input digit.png --link wan

The protocol is secure against parties that follow it. A client that does not can extract the
model, and the connection is neither encrypted nor authenticated: see SECURITY.md.";

/// Executes a secure two-party plan.
#[derive(Debug, Parser)]
#[command(name = "heq-run", version, after_help = EXAMPLES, max_term_width = 100)]
pub(super) struct Arguments {
    /// The public plan; both parties hold the same
    #[arg(long, value_name = "PLAN.heq")]
    pub(super) plan: PathBuf,
    /// Which party this is
    #[arg(long, value_enum)]
    pub(super) role: RoleArgument,
    /// Server: the address to listen on; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) listen: Option<String>,
    /// Client: the server's address
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) connect: Option<String>,
    /// Server, local: the weights (default: PLAN.server.heq beside the plan)
    #[arg(long, value_name = "PLAN.server.heq")]
    pub(super) weights: Option<PathBuf>,
    /// Client, local: samples as .npy, .npz, PNG or JPEG
    #[arg(long, value_name = "FILE")]
    pub(super) input: Option<PathBuf>,
    /// Client, local: where to write the outputs: values as float32, or the indices that the
    /// plan reveals as int64
    #[arg(long, value_name = "FILE.npy")]
    pub(super) output: Option<PathBuf>,
    /// Client, local: run this many samples only
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Local: the link between the parties (default: as fast as memory)
    #[arg(long, value_name = "lan|wan|mobile|BANDWIDTH,RTT")]
    pub(super) link: Option<LinkProfile>,
    /// Where to write what was measured, as heq-stats/1
    #[arg(long, value_name = "STATS.json")]
    pub(super) stats: Option<PathBuf>,
    /// Server: end after this many sessions (default: serve until stopped)
    #[arg(long, value_name = "N")]
    pub(super) sessions: Option<u64>,
    /// Give up when the peer sends nothing for this many seconds (default: wait)
    #[arg(long, value_name = "SECONDS")]
    pub(super) timeout: Option<u64>,
    /// Server, local: most memory for transformed weights; the rest are transformed in every inference
    /// (default: 256MB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    weight_cache: Option<usize>,
    /// Threads for computation (default: one for each core)
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
}

impl Arguments {
    /// Most bytes of transformed weights.
    pub(super) fn weight_cache(&self) -> usize {
        self.weight_cache.unwrap_or(WEIGHT_CACHE_BYTES)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleArgument {
    /// Brings the input, learns the output
    Client,
    /// Both parties on this machine
    Local,
    /// Brings the weights, learns nothing
    Server,
}

/// Bytes: a whole number, or one followed by kB, MB or GB.
fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text[digits.len()..].trim_start() {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err("give bytes, or a number followed by kB, MB or GB".to_owned()),
    };
    let number: usize = digits.parse().map_err(|_| "not a whole number".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17 B", Some(17)),
            ("3kB", Some(3000)),
            ("256MB", Some(256_000_000)),
            ("2 GB", Some(2_000_000_000)),
            ("", None),
            ("MB", None),
            ("1.5GB", None),
            ("-1", None),
            ("4 TB", None),
            ("99999999999999 GB", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
    }
}
