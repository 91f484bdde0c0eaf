//! One form for all states that cannot be told apart: nodes and fills have no names, and a log forgets entries that can make
//! no difference any more.
//!
//! Both are exact. The nodes are alike, and so are the fills. An entry is forgotten when every head, watermark and answer on
//! its way has it in its past and nothing names it; its mark stays in `Log::folded`. An entry that a failover lost is forgotten
//! when nothing names it and no node can be brought to apply it. Only the order of stream IDs counts, and that stays.

use crate::rules::Rule;
use crate::state::{
    Calls, ENTRIES, Entry, Failover, Fill, Follow, KEY, Known, NONE, Phase, Purpose, Scenario, Stage, State,
    UNPOSITIONED, Value,
};

/// A state in few bits.
pub(crate) type Packed = [u64; 9];

impl State {
    /// The form that stands for all of its kind.
    pub(crate) fn canonical(mut self, scenario: &Scenario) -> Self {
        // Without links any entry may be applied at any time; before the failover any entry may become the head.
        if scenario.rule(Rule::Link) && self.failover == Failover::Past {
            for c in 0..scenario.channels() {
                self.forget(scenario, c);
            }
        }
        self.unname_leases();
        let swapped = |mut state: Self| {
            state.nodes.swap(0, 1);
            for fill in &mut state.fills {
                if fill.stage != Stage::Unused && fill.stage != Stage::Done {
                    fill.node = 1 - fill.node;
                }
            }
            state.sort_fills();
            state
        };
        match self.nodes[0].cmp(&self.nodes[1]) {
            std::cmp::Ordering::Less => {
                self.sort_fills();
                self
            }
            std::cmp::Ordering::Greater => swapped(self),
            std::cmp::Ordering::Equal => {
                let other = swapped(self);
                self.sort_fills();
                if (self.fills, self.value) <= (other.fills, other.value) {
                    self
                } else {
                    other
                }
            }
        }
    }

    /// A lease whose fill has gone its way is nobody's.
    fn unname_leases(&mut self) {
        let fills = self.fills;
        let unname = |value: &mut Value| {
            if let Value::Lease { fill, .. } = value {
                let holds = |fill: &Fill| matches!(fill.stage, Stage::Loaded(_, place) if place != NONE);
                if *fill == NONE || !holds(&fills[usize::from(*fill)]) {
                    *fill = NONE;
                }
            }
        };
        self.values(unname);
    }

    fn values(&mut self, mut each: impl FnMut(&mut Value)) {
        each(&mut self.value);
        if let Failover::Ahead(deleted) = &mut self.failover {
            deleted.iter_mut().for_each(&mut each);
        }
    }

    fn sort_fills(&mut self) {
        // Those that did not begin stay behind.
        if self.fills[1].stage != Stage::Unused && self.fills[1] < self.fills[0] {
            self.fills.swap(0, 1);
            self.values(|value| {
                if let Value::Lease { fill, .. } = value
                    && *fill != NONE
                {
                    *fill = 1 - *fill;
                }
            });
        }
    }

    /// Everything that names an entry of a log.
    fn names(&mut self, scenario: &Scenario, c: usize, mut each: impl FnMut(&mut u8)) {
        let is_tags = scenario.has_tag() && scenario.tag_channel() == c;
        each(&mut self.logs[c].head);
        for node in &mut self.nodes {
            let follow = &mut node.follow[c];
            each(&mut follow.watermark);
            match &mut follow.phase {
                Phase::Reading { asked, fixed } => {
                    each(asked);
                    each(fixed);
                }
                Phase::Loading { fixed, .. } => each(fixed),
                _ => {}
            }
            if let Some((asked, fixed)) = &mut follow.heads {
                each(asked);
                each(fixed);
            }
            if is_tags {
                each(&mut node.tag);
            }
            for (s, known) in node.known.iter_mut().enumerate() {
                if let Known::Sent(at) = known
                    && scenario.bodies[s].channel() == c
                {
                    each(at);
                }
            }
        }
        let of_tag = |value: &mut Value, each: &mut dyn FnMut(&mut u8)| {
            if let (true, Value::Record { tag, .. }) = (is_tags, value) {
                each(tag);
            }
        };
        of_tag(&mut self.value, &mut each);
        for fill in &mut self.fills {
            if c == KEY {
                each(&mut fill.asked);
            }
            if is_tags {
                each(&mut fill.tag);
            }
            match &mut fill.stage {
                Stage::Fetched(head, found) => {
                    of_tag(found, &mut each);
                    if c == KEY {
                        each(head);
                    }
                }
                Stage::Missed(Some((_, tag))) if is_tags => each(tag),
                _ => {}
            }
        }
    }

    fn forget(&mut self, scenario: &Scenario, c: usize) {
        let is_tags = scenario.has_tag() && scenario.tag_channel() == c;
        let log = self.logs[c];
        if log.len == 1 {
            self.logs[c].folded &= scenario.held();
            return;
        }
        // Each entry with everything before it.
        let mut pasts = [0_u32; ENTRIES];
        for at in 0..usize::from(log.len) {
            let previous = log.entries[at].previous;
            pasts[at] = 1 << at
                | if previous == NONE {
                    0
                } else {
                    pasts[usize::from(previous)]
                };
        }
        let mask = |at: u8| if at < UNPOSITIONED { 1_u32 << at } else { 0 };
        let past = |at: u8| pasts[usize::from(at)];
        // Where somebody stands, or will stand once an answer has come.
        let mut stands = [NONE; 7];
        stands[0] = log.head;
        for (node, places) in self.nodes.iter().zip(stands[1..].chunks_mut(3)) {
            let Follow {
                watermark,
                phase,
                heads,
                ..
            } = node.follow[c];
            places[0] = watermark;
            if let Phase::Reading { fixed, .. } | Phase::Loading { fixed, .. } = phase {
                places[1] = fixed;
            }
            if let Some((_, fixed)) = heads {
                places[2] = fixed;
            }
        }
        let mut common = u32::MAX;
        let mut named = 0;
        for at in stands.into_iter().filter(|at| *at < UNPOSITIONED) {
            common &= past(at) & !mask(at);
        }
        let mut lost = 0;
        self.names(scenario, c, |at| {
            named |= mask(*at);
            lost |= if *at < UNPOSITIONED { past(*at) } else { 0 };
        });
        let here = past(log.head);
        let mut map = [NONE; 256];
        map[usize::from(UNPOSITIONED)] = UNPOSITIONED;
        let mut kept = log;
        kept.len = 0;
        for at in 0..log.len {
            let entry = log.entry(at);
            // Bells of it may still come.
            let applied_by =
                |from: &u8| *from < at && log.incarnation(*from) == entry.incarnation && past(at) & mask(*from) != 0;
            let needed = if common & mask(at) != 0 {
                named & mask(at) != 0
            } else {
                (here | lost) & mask(at) != 0 || stands.iter().any(applied_by)
            };
            if needed {
                map[usize::from(at)] = kept.len;
                let mut previous = entry.previous;
                while previous != NONE && map[usize::from(previous)] == NONE {
                    previous = log.entry(previous).previous;
                }
                kept.entries[usize::from(kept.len)] = Entry {
                    previous: map[usize::from(previous)],
                    ..entry
                };
                kept.len += 1;
            } else if common & mask(at) != 0 {
                kept.folded |= entry.payload.mark();
            }
        }
        kept.folded &= scenario.held();
        for unused in usize::from(kept.len)..ENTRIES {
            kept.entries[unused] = Entry::BIRTH;
        }
        self.logs[c] = kept;
        self.names(scenario, c, |at| *at = map[usize::from(*at)]);
        for node in &mut self.nodes {
            // The oldest remembered entry that is still there.
            let Follow { base, watermark, .. } = &mut node.follow[c];
            if scenario.log_calls == Calls::OneStep && scenario.l2_calls == Calls::OneStep && !is_tags {
                // Nothing that was sent earlier ever comes back, and nobody asks for an older entry.
                *base = *watermark;
                continue;
            }
            *base = (*base..log.len)
                .map(|at| map[usize::from(at)])
                .find(|at| *at != NONE)
                .unwrap_or(NONE);
        }
    }

    /// Everything that makes a state what it is.
    pub(crate) fn packed(&self, scenario: &Scenario) -> Packed {
        let mut bits = Bits::default();
        for log in &self.logs[..scenario.channels()] {
            bits.put(log.len << 4 | log.head, 8);
            bits.put(log.mints() as u8, 3);
            bits.put(log.folded, 2);
            for entry in &log.entries[1..usize::from(log.len).max(1)] {
                bits.put(entry.previous, 4);
                bits.put(entry.payload.code() << 3 | entry.incarnation & 7, 6);
            }
            bits.put(log.entries[0].payload.code() << 3 | log.entries[0].incarnation & 7, 6);
        }
        bits.put(self.made, 2);
        bits.value(self.value, true);
        if let Failover::Ahead(deleted) = self.failover {
            bits.put(1, 1);
            for value in deleted {
                bits.value(value, false);
            }
        } else {
            bits.put(0, 1);
        }
        for node in &self.nodes {
            for (follow, _) in node.follow.iter().zip(0..scenario.channels()) {
                bits.follow(follow);
            }
            for known in node.known {
                match known {
                    Known::Sent(at) => bits.put(5 | at << 3, 7),
                    Known::Unheard => bits.put(0, 3),
                    Known::Heard => bits.put(1, 3),
                    Known::Waiting => bits.put(2, 3),
                    Known::Answered => bits.put(3, 3),
                    Known::Positioned => bits.put(4, 3),
                }
            }
            bits.put(node.held << 4 | node.need << 2 | node.l1 & 3, 6);
            bits.entry(node.tag);
        }
        for fill in &self.fills[..scenario.fills] {
            bits.fill(fill);
        }
        bits.words
    }
}

/// Bits in a row.
#[derive(Default)]
struct Bits {
    words: Packed,
    used: usize,
}

impl Bits {
    /// The low bits of a number. Every `NONE` is all ones.
    fn put(&mut self, number: u8, width: usize) {
        let number = u64::from(number) & ((1 << width) - 1);
        let (word, at) = (self.used / 64, self.used % 64);
        self.words[word] |= number << at;
        if at + width > 64 {
            self.words[word + 1] |= number >> (64 - at);
        }
        self.used += width;
    }

    /// An entry, `NONE` or `UNPOSITIONED`.
    fn entry(&mut self, at: u8) {
        self.put(at, 5);
    }

    fn value(&mut self, value: Value, positions: bool) {
        match value {
            Value::Empty => self.put(0, 2),
            Value::Lease { fill, incarnation } => self.put(1 | fill << 2 | incarnation << 4, 7),
            Value::Record {
                version,
                incarnation,
                tag,
            } => {
                self.put(2 | version << 2 | incarnation << 4, 7);
                if positions || tag != NONE {
                    self.entry(tag);
                }
            }
        }
    }

    fn follow(&mut self, follow: &Follow) {
        self.put(follow.watermark << 4 | follow.base, 8);
        match follow.phase {
            Phase::Current => self.put(0, 3),
            Phase::Suspect => self.put(1, 3),
            Phase::Reading { asked, fixed } => {
                self.put(2, 3);
                self.entry(asked);
                self.entry(fixed);
            }
            Phase::Loading { purpose, fixed } => {
                self.put(if purpose == Purpose::Adopt { 3 } else { 4 }, 3);
                self.entry(fixed);
            }
            Phase::Recommitting { expected } => self.put(5 | expected << 3, 6),
            Phase::Minting { expected } => self.put(6 | expected << 3, 6),
        }
        match follow.heads {
            None => self.put(0, 1),
            Some((asked, fixed)) => {
                self.put(1, 1);
                self.entry(asked);
                self.entry(fixed);
            }
        }
        self.put(follow.jobs[0] << 3 | follow.jobs[1] & 7, 6);
    }

    fn fill(&mut self, fill: &Fill) {
        match fill.stage {
            Stage::Unused => return self.put(0, 3),
            Stage::Done => return self.put(1, 3),
            Stage::Asked => self.put(2, 3),
            Stage::Held => self.put(3, 3),
            Stage::Missed(None) => self.put(4, 3),
            Stage::Missed(Some((version, tag))) => {
                self.put(5 | version << 3, 5);
                self.entry(tag);
            }
            Stage::Fetched(head, value) => {
                self.put(6, 3);
                self.entry(head);
                self.value(value, true);
            }
            Stage::Loaded(version, place) => self.put(7 | version << 3 | place << 5, 8),
        }
        let flags = u8::from(fill.voided) | u8::from(fill.awaited) << 1 | u8::from(fill.waited) << 2;
        self.put(fill.node | flags << 1 | fill.need << 4, 6);
        self.entry(fill.asked);
        self.put(fill.captured, 3);
        self.entry(fill.tag);
    }
}
