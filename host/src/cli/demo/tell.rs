//! How the demonstration speaks: time since the start, who, what; and the table at the end.

use std::time::Instant;

/// Prints the demonstration's lines.
pub(super) struct Teller {
    started: Instant,
}

impl Teller {
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(super) fn title(&self, text: &str) {
        println!("{text}\n");
    }

    pub(super) fn act(&self, text: &str) {
        println!("\n{text}\n");
    }

    /// One line: when, who, what.
    pub(super) fn line(&self, who: &str, what: &str) {
        println!("  {:>5.1} s  {who:<8} {what}", self.started.elapsed().as_secs_f64());
    }

    /// A block that is already laid out.
    pub(super) fn block(&self, text: &str) {
        for line in text.lines() {
            println!("           {line}");
        }
    }

    /// The table of what was promised and what was found. Whether all of it held.
    pub(super) fn summary(&self, rows: &[(&str, usize, usize)]) -> bool {
        let width = rows.iter().map(|(what, ..)| what.len()).max().unwrap_or(0);
        println!("\n  {:<width$}  found  expected", "");
        for (what, found, expected) in rows {
            let verdict = if found == expected { "ok" } else { "WRONG" };
            println!("  {what:<width$}  {found:>5}  {expected:>8}  {verdict}");
        }
        let held = rows.iter().all(|(_, found, expected)| found == expected);
        let [snapshots, resets, duplicates] = [rows[1].1, rows[2].1, rows[4].1];
        println!(
            "\n{snapshots} snapshots for 12 disks, {resets} reset, {duplicates} duplicates after the kill"
        );
        println!(
            "{} in {:.1} s",
            if held { "all held" } else { "NOT ALL HELD" },
            self.started.elapsed().as_secs_f64()
        );
        held
    }
}
