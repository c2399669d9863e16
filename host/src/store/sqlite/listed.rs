//! Lists of runs, and how they are found without reading all there are. Leaves the columns to `read`. Tested below, and by the
//! conformance suite.

use super::read::{RUN_COLUMNS, Reader, rows_max, run_row};
use super::readable;
use super::schema::code;
use crate::store::{RunFilter, RunRow, StoreError};
use opsward_core::run::RunState;
use rusqlite::{Row, params};

impl Reader {
    /// Runs, newest first.
    pub fn list_runs(&self, filter: &RunFilter) -> Result<Vec<RunRow>, StoreError> {
        let mut statement = self.conn.prepare_cached(&runs_sql(filter))?;
        let policy = filter.policy.as_ref().map(|p| p.as_str());
        let row = |row: &Row<'_>| run_row(row).or_else(|_| readable::run_row(row));
        let rows = statement.query_map(params![policy, rows_max(filter.limit)], row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Lists runs: `?1` is the policy, `?2` how many.
fn runs_sql(filter: &RunFilter) -> String {
    let mut sql = format!("SELECT {RUN_COLUMNS} FROM runs r JOIN events e ON e.seq = r.event WHERE true");
    if filter.policy.is_some() {
        sql.push_str(" AND r.policy = ?1");
    } else {
        sql.push_str(" AND ?1 IS NULL");
    }
    if let Some(state) = filter.state {
        sql.push_str(&format!(" AND r.state = {}", code(state)));
        if state != RunState::Done {
            // Lets SQLite use the index of runs that are not done.
            sql.push_str(" AND r.state <> 3");
        }
    }
    sql.push_str(" ORDER BY r.seq DESC LIMIT ?2");
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn the_latest_runs_of_a_policy_are_found_without_reading_the_others() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("opsward.db");
        let _store = SqliteStore::open(&path).expect("a store");
        let reader = Reader::open(&path).expect("a reader");
        let filter = RunFilter { policy: Some("p".parse().expect("a name")), ..RunFilter::default() };
        let plan = format!("EXPLAIN QUERY PLAN {}", runs_sql(&filter));
        let mut plan = reader.conn.prepare(&plan).expect("a plan");
        let steps = plan.query_map(params!["p", 10], |row| row.get(3)).expect("steps");
        let steps: Vec<String> = steps.collect::<Result<_, _>>().expect("texts");
        assert_eq!(
            steps,
            [
                "SEARCH r USING INDEX runs_of_policy (policy=?)",
                "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)"
            ],
            "and nothing is sorted"
        );
    }
}
