//! `authmesh presets`: the providers that are known.

use std::io;

use authmesh_oidc::presets::{self, Preset};
use clap::Args;
use serde_json::{Value, json};

use super::io::{Exit, Failure, Io};
use super::text::row;

const AFTER_HELP: &str = "\
Exit codes: 0 listed; 1 there is no such preset; 2 wrong usage.

Examples:
  authmesh presets
  authmesh presets entra
  authmesh presets --json | jq '.presets[].name'";

/// List the providers that `[issuers.preset]` can name, with what has to be filled in
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct PresetsArgs {
    /// Only this one
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print one JSON object: {"presets": [{"name", "title", "about", "issuer", "audience", "why", "parameters", "docs"}]}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PresetsArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let names: Vec<&str> = presets::names()
        .filter(|name| args.name.as_deref().is_none_or(|wanted| wanted == *name))
        .collect();
    if names.is_empty() {
        let known: Vec<&str> = presets::names().collect();
        io.note(&format!("there is no such preset. There are: {}", known.join(", ")))?;
        return Ok(Exit::No);
    }
    let known: Result<Vec<Preset>, _> = names.into_iter().map(Preset::named).collect();
    let known = known.map_err(|error| Failure::said(error.to_string()))?;
    if args.json {
        let presets: Vec<Value> = known.iter().map(as_json).collect();
        writeln!(io.stdout, "{}", json!({ "presets": presets }))?;
        return Ok(Exit::Yes);
    }
    for (at, preset) in known.iter().enumerate() {
        if at > 0 {
            writeln!(io.stdout)?;
        }
        print(io.stdout, preset)?;
    }
    Ok(Exit::Yes)
}

fn as_json(preset: &Preset) -> Value {
    let parameters: Vec<Value> = preset
        .parameters()
        .map(|it| json!({ "name": it.name, "about": it.about, "example": it.example }))
        .collect();
    json!({
        "name": preset.name(),
        "title": preset.title(),
        "about": preset.about(),
        "issuer": preset.issuer_template(),
        "audience": preset.audience_is(),
        "why": preset.why(),
        "parameters": parameters,
        "docs": preset.docs().collect::<Vec<_>>(),
    })
}

/// What it is, and a section to paste.
fn print(out: &mut dyn io::Write, preset: &Preset) -> io::Result<()> {
    writeln!(out, "{}   {}", preset.name(), preset.about())?;
    row(out, "issuer", preset.issuer_template())?;
    row(out, "audience", preset.audience_is())?;
    if !preset.why().is_empty() {
        row(out, "why", preset.why())?;
    }
    for parameter in preset.parameters() {
        row(out, parameter.name, parameter.about)?;
    }
    for page in preset.docs() {
        row(out, "docs", page)?;
    }
    writeln!(
        out,
        "\n  [[issuers]]\n  audience = \"...\"\n  [issuers.preset]\n  name = \"{}\"",
        preset.name()
    )?;
    for parameter in preset.parameters() {
        writeln!(out, "  {} = \"{}\"", parameter.name, parameter.example)?;
    }
    Ok(())
}
