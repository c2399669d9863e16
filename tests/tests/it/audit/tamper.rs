//! Ways to change a closed store behind the host's back, each with what must be found.

use super::{FILES, Lab};
use crate::chaos::next;
use opsward_core::audit::{self, Entry};
use opsward_core::id::Digest;
use rusqlite::{Connection, params};

/// What must be found.
pub(super) enum Expect {
    /// The first bad row is this.
    Row(i64),
    /// Something, of which no row is the first.
    Finding,
}

struct Stored {
    entry: Vec<u8>,
    hash: Vec<u8>,
}

struct Chain<'l> {
    lab: &'l Lab,
    conn: Connection,
    /// Row 1 is the first.
    rows: Vec<Stored>,
}

/// Changes something, and says what must be found.
pub(super) fn tamper(lab: &Lab, random: &mut u64) -> (&'static str, Expect) {
    let conn = Connection::open(lab.path()).expect("opens");
    let rows = {
        let mut all =
            conn.prepare("SELECT CAST(entry AS BLOB), hash FROM audit ORDER BY seq").expect("prepared");
        let rows =
            all.query_map([], |row| Ok(Stored { entry: row.get(0)?, hash: row.get(1)? })).expect("asked");
        rows.map(|row| row.expect("read")).collect()
    };
    let chain = Chain { lab, conn, rows };
    match next(random) % 14 {
        0 => ("flip a bit of an entry", chain.flip_entry(random)),
        1 => ("flip a bit of a hash", chain.flip_hash(random)),
        2 => ("flip a bit of a number", chain.flip_number(random)),
        3 => ("delete one row", chain.delete(random, 1)),
        4 => ("delete several rows", chain.delete(random, 5)),
        5 => ("swap two rows", chain.swap(random)),
        6 => ("cut off the end", chain.cut_off(random)),
        7 => ("replace the tail", chain.replace_tail(random)),
        8 => ("repeat a row at the end", chain.repeat_at_end(random)),
        9 => ("repeat a row in its place", chain.repeat_in_place(random)),
        10 => ("append a row that fits", chain.append(random)),
        11 => ("edit the checkpoints", chain.edit_checkpoints(random)),
        12 => ("change an effect in the ledger", chain.change_ledger(random)),
        _ => ("delete from the ledger", chain.delete_from_ledger(random)),
    }
}

impl Chain<'_> {
    fn last(&self) -> i64 {
        self.rows.len() as i64
    }

    fn any(&self, random: &mut u64) -> i64 {
        1 + (next(random) % self.rows.len() as u64) as i64
    }

    fn at(&self, row: i64) -> &Stored {
        &self.rows[row as usize - 1]
    }

    fn put(&self, row: i64, entry: &[u8], hash: &[u8]) {
        let put = "INSERT OR REPLACE INTO audit (seq, entry, hash) VALUES (?1, CAST(?2 AS TEXT), ?3)";
        self.conn.execute(put, params![row, entry, hash]).expect("written");
    }

    fn flip_entry(&self, random: &mut u64) -> Expect {
        let row = self.any(random);
        let stored = self.at(row);
        self.put(row, &flipped(&stored.entry, random), &stored.hash);
        Expect::Row(row)
    }

    fn flip_hash(&self, random: &mut u64) -> Expect {
        let row = self.any(random);
        let stored = self.at(row);
        self.put(row, &stored.entry, &flipped(&stored.hash, random));
        Expect::Row(row)
    }

    fn flip_number(&self, random: &mut u64) -> Expect {
        loop {
            let row = self.any(random);
            let other = row ^ (1 << (next(random) % 64));
            if (1..=self.last()).contains(&other) {
                continue;
            }
            self.conn.execute("UPDATE audit SET seq = ?2 WHERE seq = ?1", [row, other]).expect("written");
            return Expect::Row(row.min(other));
        }
    }

    fn delete(&self, random: &mut u64, count: usize) -> Expect {
        let gone: Vec<i64> = (0..count).map(|_| self.any(random)).collect();
        for row in &gone {
            self.conn.execute("DELETE FROM audit WHERE seq = ?1", [row]).expect("deleted");
        }
        Expect::Row(*gone.iter().min().expect("one"))
    }

    fn swap(&self, random: &mut u64) -> Expect {
        let (one, other) = (self.any(random), self.any(random));
        if one == other {
            return self.swap(random);
        }
        let [a, b] = [self.at(one), self.at(other)];
        self.put(one, &b.entry, &b.hash);
        self.put(other, &a.entry, &a.hash);
        Expect::Row(one.min(other))
    }

    fn cut_off(&self, random: &mut u64) -> Expect {
        let from = self.any(random);
        self.conn.execute("DELETE FROM audit WHERE seq >= ?1", [from]).expect("deleted");
        Expect::Row(from)
    }

    /// Changes a row and makes all hashes from there on fit; only the checkpoint after it tells. Named is the first row that is
    /// not confirmed.
    fn replace_tail(&self, random: &mut u64) -> Expect {
        let from = self.any(random);
        let mut before = match from {
            1 => audit::root(),
            _ => Digest::from_bytes(self.at(from - 1).hash.as_slice().try_into().expect("a hash")),
        };
        for row in from..=self.last() {
            let mut entry: Entry = serde_json::from_slice(&self.at(row).entry).expect("an entry");
            if row == from {
                entry.by = Some("mallory".to_owned());
            }
            let text = serde_json::to_string(&entry).expect("plain data");
            before = audit::link(&before, text.as_bytes());
            self.put(row, text.as_bytes(), before.as_bytes());
        }
        let confirmed = self.checkpoints().into_iter().filter(|row| *row < from).max().unwrap_or(0);
        Expect::Row(confirmed + 1)
    }

    fn repeat_at_end(&self, random: &mut u64) -> Expect {
        let stored = self.at(self.any(random));
        self.put(self.last() + 1, &stored.entry, &stored.hash);
        Expect::Row(self.last() + 1)
    }

    fn repeat_in_place(&self, random: &mut u64) -> Expect {
        let row = self.any(random);
        for moved in (row..=self.last()).rev() {
            self.put(moved + 1, &self.at(moved).entry, &self.at(moved).hash);
        }
        Expect::Row(row + 1)
    }

    /// A row that nobody who sees only the table can tell from the host's.
    fn append(&self, random: &mut u64) -> Expect {
        let row = self.last() + 1;
        let stored = self.at(self.any(random));
        let mut entry: Entry = serde_json::from_slice(&stored.entry).expect("an entry");
        (entry.seq, entry.record) = (row, None);
        let text = serde_json::to_string(&entry).expect("plain data");
        let last = self.at(self.last()).hash.as_slice().try_into().expect("a hash");
        let hash = audit::link(&Digest::from_bytes(last), text.as_bytes());
        self.put(row, text.as_bytes(), hash.as_bytes());
        Expect::Row(row)
    }

    fn edit_checkpoints(&self, random: &mut u64) -> Expect {
        let path = self.lab.beside(FILES[1]);
        let text = std::fs::read(&path).expect("read");
        let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let at = (next(random) % lines.len() as u64) as usize;
        let edited = match next(random) % 5 {
            0 => flipped(&text, random),
            1 => {
                lines.remove(at);
                lines.concat()
            }
            2 => {
                lines.insert(at, lines[at]);
                lines.concat()
            }
            3 => {
                let other = (at + 1) % lines.len();
                lines.swap(at, other);
                lines.concat()
            }
            // All of them, as if there had never been any.
            _ => {
                std::fs::remove_file(&path).expect("removed");
                return Expect::Finding;
            }
        };
        std::fs::write(&path, edited).expect("written");
        Expect::Finding
    }

    /// Rows that the checkpoints are of.
    fn checkpoints(&self) -> Vec<i64> {
        let text = std::fs::read_to_string(self.lab.beside(FILES[1])).expect("read");
        text.lines().map(|line| line.split(' ').nth(1).expect("a row").parse().expect("a number")).collect()
    }

    /// With a checksum that fits, which anybody can make.
    fn change_ledger(&self, random: &mut u64) -> Expect {
        let (row, run, text) = self.effect_in_ledger(random);
        let changed = text.replacen("\"r-1\"", "\"r-9\"", 1).replacen("\"d-", "\"x-", 1);
        let changed = if changed == text {
            text.replacen("r-2", "r-8", 1).replacen("read back", "x", 1)
        } else {
            changed
        };
        assert_ne!(changed, text);
        let sum = Digest::of(&[&run.to_le_bytes()[..], changed.as_bytes()].concat());
        let sum = i64::from_le_bytes(sum.as_bytes()[..8].try_into().expect("8 bytes"));
        self.conn
            .execute("UPDATE ledger SET records = ?2, sum = ?3 WHERE seq = ?1", params![row, changed, sum])
            .expect("written");
        Expect::Finding
    }

    fn delete_from_ledger(&self, random: &mut u64) -> Expect {
        let (row, ..) = self.effect_in_ledger(random);
        self.conn.execute("DELETE FROM ledger WHERE seq = ?1", [row]).expect("deleted");
        Expect::Finding
    }

    fn effect_in_ledger(&self, random: &mut u64) -> (i64, i64, String) {
        let sql = "SELECT seq, run, records FROM ledger WHERE records LIKE '%\"kind\":\"intent\"%'
                   OR records LIKE '%\"kind\":\"result\"%' OR records LIKE '%\"kind\":\"not-executed\"%'";
        let mut all = self.conn.prepare(sql).expect("prepared");
        let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("asked");
        let mut rows: Vec<_> = rows.map(|row| row.expect("read")).collect();
        let at = (next(random) % rows.len() as u64) as usize;
        rows.swap_remove(at)
    }
}

fn flipped(bytes: &[u8], random: &mut u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = (next(random) % bytes.len() as u64) as usize;
    bytes[at] ^= 1 << (next(random) % 8);
    bytes
}
