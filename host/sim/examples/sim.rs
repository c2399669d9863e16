//! The simulated clouds alone, without the rest of opsward: `cargo run -p opsward-sim --example sim -- 127.0.0.1:0`.

use opsward_sim::{Sim, SimOptions};
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen = std::env::args().skip(1).find(|argument| argument.contains(':'));
    let listener = tokio::net::TcpListener::bind(listen.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let sim = Sim::start(listener, SimOptions::default())?;
    println!("{}", sim.ready_line());
    tokio::signal::ctrl_c().await?;
    sim.shutdown().await;
    Ok(())
}
