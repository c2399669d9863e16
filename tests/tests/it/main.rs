//! Whole-host tests, one binary. One file per subject; `harness` starts hosts and simulated clouds.

mod broker;
mod chaos;
mod check;
mod cron;
mod disk;
mod doubt;
mod endings;
mod events;
mod harness;
mod hostile;
mod once;
mod registry;
mod serve;
mod sim;
mod store;
mod teeth;
mod tidy;
mod vectors;
