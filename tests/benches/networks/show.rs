//! The table of networks.

use heq_tests::table::{Column, Table};
use serde_json::Value;

pub(crate) const TABLE: Table = Table { bench: "networks", columns: COLUMNS };

/// Pairs are up and down, or client and server.
const COLUMNS: &[Column] = &[
    ("network and plan", 40, name),
    ("linear MB", 15, |row| megabytes(&row["linear_bytes"])),
    ("other MB", 15, |row| megabytes(&row["other_bytes"])),
    ("OT MB", 15, |row| megabytes(&row["random_ot_bytes"])),
    ("all MB", 8, |row| scaled(&row["bytes"], 1e6, 3)),
    ("set-up MB", 13, |row| megabytes(&row["setup_bytes"])),
    ("flights", 7, |row| scaled(&row["flights"], 1.0, 0)),
    ("wall s", 7, |row| scaled(&row["wall_s"], 1.0, 3)),
    ("CPU s", 13, |row| pair(&row["cpu_s"], 1.0, 3)),
    ("peak MB", 9, |row| pair(&row["peak_rss_bytes"], 1e6, 0)),
    ("exact", 9, exact),
    ("bytes x", 7, |row| scaled(&row["bytes_ratio"], 1.0, 1)),
    ("CPU x", 6, |row| scaled(&row["cpu_ratio"], 1.0, 1)),
    ("flights x", 9, |row| scaled(&row["flights_ratio"], 1.0, 1)),
];

fn name(row: &Value) -> String {
    let name = row["name"].as_str().unwrap_or("").to_owned();
    if row["failed"].is_null() { name } else { format!("{name} (failed)") }
}

fn exact(row: &Value) -> String {
    if row["checked"].is_null() {
        "-".to_owned()
    } else {
        format!("{}/{}", row["exact"], row["checked"])
    }
}

fn megabytes(bytes: &Value) -> String {
    pair(bytes, 1e6, 3)
}

fn pair(values: &Value, unit: f64, decimals: usize) -> String {
    match values.as_array().map(Vec::as_slice) {
        Some([a, b]) => format!("{}+{}", scaled(a, unit, decimals), scaled(b, unit, decimals)),
        _ => "-".to_owned(),
    }
}

fn scaled(value: &Value, unit: f64, decimals: usize) -> String {
    value.as_f64().map_or("-".to_owned(), |value| format!("{:.decimals$}", value / unit))
}
