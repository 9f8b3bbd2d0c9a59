//! The binary `doorward`: joins the commands of `control` with those of the data plane.

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use control::cli::{Env, Exit, Globals, Output};

/// Puts credentials on the requests of agents that never hold them.
#[derive(Debug, Parser)]
#[command(name = "doorward", version, about, propagate_version = true, subcommand_required = true)]
struct Line {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, made once")]
enum Command {
    #[command(flatten)]
    Proxy(proxy::cli::Command),
    #[command(flatten)]
    Control(control::cli::Command),
}

fn main() -> ExitCode {
    // Before anything is read. What children inherit follows when it is known that there will be no agent among them.
    proxy::process::harden_launcher();
    certs::crypto::install();
    let output = Output;
    let line = match Line::command().try_get_matches().and_then(|matches| Line::from_arg_matches(&matches)) {
        Ok(line) => line,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Nobody to tell if stdout or stderr is gone.
            drop(error.print());
            return exit.into();
        }
    };
    let starts_others = match &line.command {
        Command::Proxy(command) => command.is_launcher(),
        Command::Control(command) => command.opens_browser(),
    };
    if !starts_others {
        proxy::process::harden();
    }
    let env = Env {
        vars: std::env::vars_os().collect(),
        globals: line.globals,
        schemes: proxy::schemes::specs(),
        output,
        tls: proxy::cli::trusting,
        browse: proxy::cli::browse,
    };
    let outcome = match line.command {
        Command::Proxy(command) => command.run(&env, Line::command()),
        Command::Control(command) => command.run(&env),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.say(format!("doorward: {failure}"));
            failure.exit.into()
        }
    }
}
