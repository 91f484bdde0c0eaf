//! `authmesh status`: how a node and its cluster are.

use std::io::{self, Write};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Admin, Answer, ClientArgs};
use super::io::{Exit, Failure, Io};
use super::members::{Member, Members};
use super::text::{Table, count, or_dash, plain, row, size, span, thousands, yes_or_no};

const AFTER_HELP: &str = "\
Exit codes: 0 all is well; 1 the node is degraded or blind; 2 wrong usage, or the node could not be asked.

The credential is read from AUTHMESH_ADMIN_TOKEN or --token-file.

Examples:
  authmesh status
  authmesh status --admin-url https://authmesh-0.prod.example:8500 --token-file /run/secrets/authmesh-admin
  authmesh status --json | jq .health.issuers";

/// Show how a node, its issuers and the members of its cluster are
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct StatusArgs {
    /// Print one JSON object with the node's answers: stats, health, members
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn run(args: &StatusArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.client, io)?;
    let [stats, health, members] = admin.get_all(["v1/stats", "v1/health", "v1/members"])?;
    succeeded(&stats)?;
    // While Redis is away a node does not know its members, and everything else of its state is asked for all the more.
    let unknown = (members.status == 503).then(|| members.problem(&[]));
    if unknown.is_none() {
        succeeded(&members)?;
    }
    // A node that is not well may say so by its status code, too.
    if health.status != 503 {
        succeeded(&health)?;
    }
    let state: Health = health.read()?;
    if args.json {
        let all = json!({
            "stats": stats.read::<Value>()?,
            "health": health.read::<Value>()?,
            "members": match &unknown {
                Some(_) => None,
                None => members.read::<Value>()?.get("members").cloned(),
            },
        });
        writeln!(io.stdout, "{all}")?;
    } else {
        let members = match unknown {
            Some(why) => Err(why),
            None => Ok(members.read()?),
        };
        print(io.stdout, &stats.read()?, &state, members.as_ref())?;
    }
    Ok(if state.status == "ok" { Exit::Yes } else { Exit::No })
}

fn succeeded(answer: &Answer) -> Result<(), Failure> {
    match answer.status {
        200 => Ok(()),
        _ => Err(Failure::said(answer.problem(&[]))),
    }
}

/// The answer of `GET /v1/stats`. What a node of another version lacks counts as nothing.
#[derive(Deserialize)]
struct Stats {
    node: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    uptime_seconds: u64,
    #[serde(default)]
    counts: Counts,
    hit_rate: Option<f64>,
    #[serde(default)]
    verdicts: u64,
    #[serde(default)]
    verdict_bytes: u64,
    #[serde(default)]
    entries: u64,
    #[serde(default)]
    entry_bytes: u64,
    #[serde(default)]
    marks: u64,
    #[serde(default)]
    outbox: u64,
    gossip: Option<GossipStats>,
}

/// What gossip holds.
#[derive(Deserialize, Default)]
#[serde(default)]
struct GossipStats {
    up: u64,
    ring: u64,
    unpositioned: u64,
    lost_statements: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    hits: u64,
    verified: u64,
    blind_hits: u64,
    blind_verified: u64,
    refused: u64,
    revoked: u64,
    could_not_ask: u64,
}

/// The answer of `GET /v1/health`.
#[derive(Deserialize)]
pub(super) struct Health {
    status: String,
    coherent: bool,
    blind_for_seconds: Option<u64>,
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    pub(super) issuers: Vec<IssuerHealth>,
    #[serde(default)]
    pub(super) upstreams: Vec<UpstreamHealth>,
    gossip: Option<GossipHealth>,
}

/// How a node with gossip stands with the others.
#[derive(Deserialize, Default)]
#[serde(default)]
struct GossipHealth {
    joined: bool,
    forgotten: bool,
    coherent_by_redis: bool,
    coherent_by_gossip: bool,
    members: u64,
    waits_for: Vec<String>,
    evidence_age_ms: Option<u64>,
    redis_proof_age_seconds: Option<u64>,
}

/// The keys of an issuer.
#[derive(Deserialize)]
pub(super) struct IssuerHealth {
    pub(super) issuer: String,
    #[serde(default)]
    keys: u64,
    #[serde(default)]
    skipped: Vec<Value>,
    generation: Option<u64>,
    age_seconds: Option<u64>,
    /// Where the node has the set from: issuer, l2, member.
    source: Option<String>,
    #[serde(default)]
    pub(super) trusted: bool,
    /// For how long more, if the issuer cannot be asked.
    pub(super) trusted_seconds: Option<u64>,
    #[serde(default)]
    pub(super) failures: u64,
    #[serde(default)]
    pub(super) circuit_open: bool,
    pub(super) trouble: Option<String>,
}

/// An issuer that is asked about tokens.
#[derive(Deserialize)]
pub(super) struct UpstreamHealth {
    pub(super) issuer: String,
    #[serde(default)]
    pub(super) failures: u64,
    /// Whether it is left alone.
    #[serde(default)]
    pub(super) open: bool,
    pub(super) trouble: Option<String>,
}

/// `members`: what is known of them, or why nothing is.
fn print(out: &mut dyn Write, stats: &Stats, health: &Health, members: Result<&Members, &String>) -> io::Result<()> {
    let coherence = match (health.coherent, health.blind_for_seconds) {
        (true, _) => "coherent".to_owned(),
        (false, Some(seconds)) => format!("blind for {}", span(seconds)),
        (false, None) => "blind since its start".to_owned(),
    };
    let known = members.map_or_else(
        |_| "members unknown".to_owned(),
        |Members { members }| {
            let live = members.iter().filter(|member| member.live).count();
            format!("{live} of {} live", count(members.len() as u64, "node", "nodes"))
        },
    );
    let trusted = health.issuers.iter().filter(|issuer| issuer.trusted).count();
    let asked = health.upstreams.iter().filter(|upstream| !upstream.open).count();
    writeln!(
        out,
        "node {}   {}, {coherence}, {}   {known}   issuers {} of {} ok",
        plain(&stats.node),
        plain(&health.status),
        if health.ready { "ready" } else { "not ready" },
        trusted + asked,
        health.issuers.len() + health.upstreams.len(),
    )?;
    let counts = &stats.counts;
    let answers = format!(
        "{}, {} verified, {} refused, {} revoked, {} while blind, {} without an answer of the issuer",
        count(counts.hits, "hit", "hits"),
        thousands(counts.verified),
        thousands(counts.refused),
        thousands(counts.revoked),
        thousands(counts.blind_hits.saturating_add(counts.blind_verified)),
        thousands(counts.could_not_ask),
    );
    let memory = format!(
        "{} ({}), {} ({}), {}",
        count(stats.verdicts, "verdict", "verdicts"),
        size(stats.verdict_bytes),
        count(stats.entries, "entry", "entries"),
        size(stats.entry_bytes),
        count(stats.marks, "mark", "marks"),
    );
    row(
        out,
        "up",
        &format!("{}, version {}", span(stats.uptime_seconds), plain(&stats.version)),
    )?;
    row(out, "hit rate", &percent(stats.hit_rate))?;
    row(out, "answers", &answers)?;
    row(out, "memory", &memory)?;
    if stats.outbox > 0 {
        let waiting = count(stats.outbox, "statement waits", "statements wait");
        row(out, "outbox", &format!("{waiting} for its commit"))?;
    }
    if let Some(gossip) = &health.gossip {
        print_gossip(out, gossip, stats.gossip.as_ref().unwrap_or(&GossipStats::default()))?;
    }

    match members {
        Ok(Members { members }) if !members.is_empty() => {
            writeln!(out)?;
            members_table(members).print(out)?;
        }
        Ok(_) => {}
        Err(why) => row(out, "members", why)?,
    }
    if !health.issuers.is_empty() {
        writeln!(out)?;
        issuers_table(&health.issuers).print(out)?;
    }
    if !health.upstreams.is_empty() {
        writeln!(out)?;
        upstreams_table(&health.upstreams).print(out)?;
    }
    let of_issuers = health.issuers.iter().map(|issuer| (&issuer.issuer, &issuer.trouble));
    let of_upstreams = health
        .upstreams
        .iter()
        .map(|upstream| (&upstream.issuer, &upstream.trouble));
    for (issuer, trouble) in of_issuers.chain(of_upstreams) {
        if let Some(trouble) = trouble {
            row(out, "trouble", &format!("{}: {}", plain(issuer), plain(trouble)))?;
        }
    }
    Ok(())
}

/// By which road the node is coherent, with whom, and what is on its way.
fn print_gossip(out: &mut dyn Write, health: &GossipHealth, stats: &GossipStats) -> io::Result<()> {
    if health.forgotten {
        let what = "the other nodes have forgotten this one, so it stays blind: start it anew";
        row(out, "trouble", what)?;
    }
    let roads = match (health.coherent_by_redis, health.coherent_by_gossip) {
        (true, true) => "by Redis and by gossip",
        (true, false) => "by Redis",
        (false, true) => "by gossip",
        (false, false) => "none",
    };
    let proof = health
        .redis_proof_age_seconds
        .map_or_else(String::new, |age| format!(", newest proof by Redis {} ago", span(age)));
    row(out, "lease", &format!("{roads}{proof}"))?;
    let evidence = match health.evidence_age_ms {
        Some(age) => format!(", oldest evidence of one {age} ms old"),
        None if health.members > 0 => ", without evidence of each".to_owned(),
        None => String::new(),
    };
    let taken_in = if health.joined { "" } else { ", not taken in yet" };
    let members = count(health.members, "other member", "other members");
    let view = format!("{members}, {} found{evidence}{taken_in}", thousands(stats.up));
    row(out, "view", &view)?;
    if !health.waits_for.is_empty() {
        let names: Vec<String> = health.waits_for.iter().map(|name| plain(name)).collect();
        row(out, "waits", &format!("for {}", names.join(", ")))?;
    }
    let ring = format!(
        "{}, {} without a position in the log, {} lost",
        count(stats.ring, "statement", "statements"),
        thousands(stats.unpositioned),
        thousands(stats.lost_statements),
    );
    row(out, "ring", &ring)
}

fn members_table(members: &[Member]) -> Table<5> {
    let mut table = Table::new(["node", "live", "seen", "version", "address"]);
    for member in members {
        table.row([
            member.node.clone(),
            yes_or_no(member.live),
            member.seen(),
            or_dash(member.version.as_ref()),
            or_dash(member.address.as_ref()),
        ]);
    }
    table
}

fn issuers_table(issuers: &[IssuerHealth]) -> Table<10> {
    let mut table = Table::new([
        "issuer",
        "trusted",
        "for",
        "keys",
        "left out",
        "keys age",
        "from",
        "generation",
        "circuit",
        "failures",
    ]);
    for issuer in issuers {
        table.row([
            issuer.issuer.clone(),
            yes_or_no(issuer.trusted),
            or_dash(issuer.trusted_seconds.filter(|_| issuer.trusted).map(span).as_ref()),
            thousands(issuer.keys),
            thousands(issuer.skipped.len() as u64),
            or_dash(issuer.age_seconds.map(span).as_ref()),
            or_dash(issuer.source.as_ref()),
            or_dash(issuer.generation.map(|number| number.to_string()).as_ref()),
            circuit(issuer.circuit_open),
            thousands(issuer.failures),
        ]);
    }
    table
}

fn upstreams_table(upstreams: &[UpstreamHealth]) -> Table<3> {
    let mut table = Table::new(["asked about tokens", "circuit", "failures"]);
    for upstream in upstreams {
        table.row([
            upstream.issuer.clone(),
            circuit(upstream.open),
            thousands(upstream.failures),
        ]);
    }
    table
}

fn circuit(open: bool) -> String {
    if open { "open" } else { "closed" }.to_owned()
}

fn percent(rate: Option<f64>) -> String {
    match rate {
        Some(rate) if (0.0..=1.0).contains(&rate) => format!("{:.1} %", rate * 100.0),
        _ => "-".to_owned(),
    }
}
