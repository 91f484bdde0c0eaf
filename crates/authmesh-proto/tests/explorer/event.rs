//! What can happen, and how a trace reads.

use std::fmt::Write as _;

use crate::state::{Body, NONE, Payload, Phase, Scenario, Stage, State, Value};

/// One step of the world. `n` is a node, `c` a channel, `s` a statement, `f` a fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// A write to the source, and the statement about it.
    Make {
        s: u8,
        n: u8,
    },
    /// The other node's early copy, by a road without positions.
    Early {
        s: u8,
        n: u8,
    },
    /// A node's commit is carried out.
    Commit {
        s: u8,
        n: u8,
    },
    /// .. and is answered.
    Committed {
        s: u8,
        n: u8,
    },
    /// A bell rings at a node.
    Ring {
        n: u8,
        c: u8,
        at: u8,
    },
    /// A node compares heads; with slow calls this only sends the call.
    Heads {
        n: u8,
        c: u8,
    },
    HeadsFixed {
        n: u8,
        c: u8,
    },
    HeadsAnswered {
        n: u8,
        c: u8,
    },
    /// The repair of a suspect channel begins.
    Repair {
        n: u8,
        c: u8,
    },
    /// A read of the log, or a load, is carried out.
    Fix {
        n: u8,
        c: u8,
    },
    /// .. and is answered.
    Answer {
        n: u8,
        c: u8,
    },
    Recommit {
        n: u8,
        c: u8,
    },
    Mint {
        n: u8,
        c: u8,
    },
    Begin {
        f: u8,
        n: u8,
    },
    /// A fill's read of L2 is carried out.
    Fetch {
        f: u8,
    },
    /// .. and is answered.
    Fetched {
        f: u8,
    },
    /// .. and not in time, or what it has does not count.
    Miss {
        f: u8,
    },
    /// The fill asks for the lease, and reads the source if it may.
    Lease {
        f: u8,
    },
    /// A fill that found the lease held waits no longer, and reads the source.
    LoadAnyway {
        f: u8,
    },
    /// The lease that a fill waited for is gone.
    Wake {
        f: u8,
    },
    /// A fill answers its callers, and stores.
    Land {
        f: u8,
    },
    Expire,
    /// A primary is lost: the logs end at these entries now.
    Failover {
        heads: [u8; 2],
    },
}

impl Event {
    /// Whether it happens by itself in a world where nothing is asked for, nothing fails, and every bell is lost.
    pub(crate) const fn is_progress(self) -> bool {
        !matches!(
            self,
            Self::Make { .. }
                | Self::Early { .. }
                | Self::Ring { .. }
                | Self::Begin { .. }
                | Self::Expire
                | Self::Failover { .. }
        )
    }
}

fn body(scenario: &Scenario, s: u8) -> &'static str {
    match scenario.body(s) {
        Body::Drop => "drop of the key",
        Body::Tag(0) => "tag of the key",
        Body::Tag(_) => "tag of the key (in the other channel)",
        Body::Mark(_) => "revocation",
        Body::Other(0) => "drop of another key",
        Body::Other(_) => "drop of another key (in the other channel)",
    }
}

fn entry(scenario: &Scenario, state: &State, c: u8, at: u8) -> String {
    if at == NONE {
        return "nothing".into();
    }
    let log = &state.logs[usize::from(c)];
    let what = match log.entry(at).payload {
        Payload::Mint if at == 0 => "birth".into(),
        Payload::Mint => "mint".into(),
        Payload::Said(s) => format!("S{} {}", s + 1, body(scenario, s)),
        Payload::Again(s) => format!("mark of S{} again", s + 1),
    };
    let lost = if log.holds(log.head, at) { "" } else { ", lost" };
    format!("entry e{at} ({what}, ID {}{lost})", log.id(at))
}

fn value(value: Value) -> String {
    match value {
        Value::Empty => "nothing".into(),
        Value::Lease { fill: NONE, .. } => "the lease of a fill that is over".into(),
        Value::Lease { fill, incarnation } => format!("the lease of F{} (incarnation {incarnation})", fill + 1),
        Value::Record {
            version,
            incarnation,
            tag: NONE,
        } => format!("version {version} (incarnation {incarnation})"),
        Value::Record {
            version,
            incarnation,
            tag,
        } => format!("version {version} (incarnation {incarnation}, tag position e{tag})"),
    }
}

/// One line: what happened between two states.
pub(crate) fn tell(scenario: &Scenario, before: &State, event: Event, after: &State) -> String {
    let mut line = match event {
        Event::Make { s, n } => format!(
            "the source is written; N{n} makes S{} ({}), in force on N{n} at once",
            s + 1,
            body(scenario, s)
        ),
        Event::Early { s, n } => format!("N{n} hears S{} early, without a position", s + 1),
        Event::Commit { s, n } => format!("N{n}'s commit of S{} is carried out", s + 1),
        Event::Committed { s, n } => format!("N{n} gets the answer to its commit of S{}", s + 1),
        Event::Ring { n, c, at } => format!("N{n} hears the bell of {}", entry(scenario, before, c, at)),
        Event::Heads { n, c } => format!("N{n} compares the head of channel {c}"),
        Event::HeadsFixed { n, c } => format!("N{n}'s read of heads reaches channel {c}"),
        Event::HeadsAnswered { n, c } => format!("N{n}'s read of heads is answered for channel {c}"),
        Event::Repair { n, c } => format!("N{n} reads the log of channel {c}"),
        Event::Fix { n, c } => format!("N{n}'s call to channel {c} is carried out"),
        Event::Answer { n, c } => match before.nodes[usize::from(n)].follow[usize::from(c)].phase {
            Phase::Loading { fixed, .. } => format!(
                "N{n} gets the marks of channel {c}, as of {}",
                entry(scenario, before, c, fixed)
            ),
            Phase::Reading { fixed, .. } => {
                format!(
                    "N{n} gets the log of channel {c}, up to {}",
                    entry(scenario, before, c, fixed)
                )
            }
            _ => format!("N{n} gets an answer"),
        },
        Event::Recommit { n, c } => format!("N{n} commits the marks that channel {c} lacks"),
        Event::Mint { n, c } => format!("N{n} tries to mint in channel {c}"),
        Event::Begin { f, n } => format!(
            "a caller on N{n} misses: fill F{} captures the fence and asks L2",
            f + 1
        ),
        Event::Fetch { f } => format!("F{}'s read of L2 finds {}", f + 1, value(before.value)),
        Event::Fetched { f } => format!("F{} gets the answer of L2", f + 1),
        Event::Miss { f } => format!("F{} gets nothing from L2 that counts", f + 1),
        Event::Lease { f } => format!("F{} asks for the lease; L2 has {}", f + 1, value(before.value)),
        Event::LoadAnyway { f } => format!("F{} waits no longer for the lease", f + 1),
        Event::Wake { f } => format!("F{} wakes: the lease is gone", f + 1),
        Event::Land { f } => format!("F{} answers its callers, and would store", f + 1),
        Event::Expire => "the lease in L2 runs out".into(),
        Event::Failover { heads } => format!(
            "failover: the new primary's log ends at {}{}",
            entry(scenario, before, 0, heads[0]),
            if scenario.channels() > 1 {
                format!(", that of channel 1 at {}", entry(scenario, before, 1, heads[1]))
            } else {
                String::new()
            }
        ),
    };
    changes(before, after, &mut line);
    line
}

fn changes(before: &State, after: &State, line: &mut String) {
    let mut note = |text: String| {
        let _ = write!(line, "; {text}");
    };
    for (c, (old, new)) in before.logs.iter().zip(&after.logs).enumerate() {
        if old.head != new.head {
            note(format!("head of channel {c}: e{} -> e{}", old.head, new.head));
        }
    }
    if before.value != after.value {
        note(format!("L2 now holds {}", value(after.value)));
    }
    for (n, (old, new)) in before.nodes.iter().zip(&after.nodes).enumerate() {
        for (c, (old, new)) in old.follow.iter().zip(&new.follow).enumerate() {
            if old.watermark != new.watermark {
                note(format!("N{n} stands at e{} of channel {c}", new.watermark));
            }
            if std::mem::discriminant(&old.phase) != std::mem::discriminant(&new.phase) {
                note(format!("N{n} channel {c}: {:?}", new.phase));
            }
        }
        if old.l1 != new.l1 {
            note(match new.l1 {
                NONE => format!("N{n}'s memory is void"),
                version => format!("N{n}'s memory holds version {version}"),
            });
        }
        if old.need != new.need {
            note(format!(
                "from here on nothing older than version {} may answer on N{n}",
                new.need
            ));
        }
    }
    for (f, (old, new)) in before.fills.iter().zip(&after.fills).enumerate() {
        if !old.voided && new.voided {
            note(format!("F{} is void", f + 1));
        }
        if let (Stage::Loaded(version, _), false) = (new.stage, matches!(old.stage, Stage::Loaded(..))) {
            note(format!("F{} has version {version}", f + 1));
        }
    }
}
