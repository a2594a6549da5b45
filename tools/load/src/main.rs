//! `cargo run --release -p load -- help`

mod chapters;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use load::{Crowd, Load, Protocol, STEP_LIMIT};

/// Fills rooms with WebSockets, has them talk, and measures what comes of it.
#[derive(Parser)]
#[command(name = "load")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Go to a server that is running.
    Drive {
        /// What its rooms speak.
        protocol: Protocol,
        /// The address of a room, with {room} where its name is:
        /// ws://localhost:8787/ws/{room}
        url: String,
        #[arg(long, default_value_t = 1)]
        rooms: usize,
        /// How many sockets are in each room.
        #[arg(long, default_value_t = 10)]
        sockets: usize,
        /// How many messages are sent in each room, one after the other.
        #[arg(long, default_value_t = 100)]
        messages: usize,
        /// How many of as many more messages may be on their way at once.
        #[arg(long, default_value_t = 8)]
        window: usize,
        /// The server says nothing until it is spoken to: do not wait for that.
        #[arg(long)]
        no_greeting: bool,
    },
    /// Start ch06 and ch07, and measure both: the figures on their pages.
    Chapters,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Drive {
            protocol,
            url,
            rooms,
            sockets,
            messages,
            window,
            no_greeting,
        } => {
            let greets = !no_greeting;
            let limit = STEP_LIMIT;
            let load = Load { protocol, url, rooms, sockets, greets, limit };
            drive(&load, messages, window)
        }
        Task::Chapters => chapters::chapters(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn drive(load: &Load, messages: usize, window: usize) -> Result<()> {
    let (mut crowd, joined) = Crowd::join(load)?;
    println!("{} sockets are in after {:.1?}", joined.sockets, joined.took);
    let talked = crowd.talk(messages, 1)?;
    println!(
        "one message at a time in each room: {} deliveries, {}",
        talked.deliveries,
        talked.delay()
    );
    let talked = crowd.talk(messages, window)?;
    println!(
        "{window} at a time: {} deliveries, {:.0} a second",
        talked.deliveries,
        talked.rate()
    );
    println!("all are out after {:.1?}", crowd.leave()?);
    Ok(())
}
