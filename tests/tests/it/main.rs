//! Whole-host tests, one binary. One file per subject; `harness` starts hosts and simulated clouds.

mod broker;
mod catalog;
mod chaos;
mod check;
mod cron;
mod db;
mod deliveries;
mod disk;
mod doubt;
mod endings;
mod events;
mod harness;
mod held;
mod hostile;
mod hostile_pack;
mod lies;
mod once;
mod registry;
mod retries;
mod serve;
mod sim;
mod simulation;
mod store;
mod teeth;
mod tidy;
mod vectors;
