//! Where a node holds its marks: 48 bytes each, and one or two cache lines to see that a scope has none.
//!
//! Names of scopes are keyed and so evenly spread: the place of one among its sorted neighbours is guessed from its bytes,
//! and the guess is off by a few. Four bytes of each name stand apart, so that a search touches nothing else until they are
//! equal. A stripe holds 1/4096 of all marks, so that an insertion moves little.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::crypto::ScopeKind;
use crate::ident::{CHANNELS, ChannelId, STRIPES, ScopeId};
use crate::statement::{Mark, MarkKey, Note};
use crate::time::{Moment, Unix};

const HOUR: u64 = 3600;
const SECOND: u64 = 1_000_000_000;

/// One mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    scope: ScopeId,
    not_before: u32,
    /// 0: none; else its place among the exceptions, plus one.
    except: u32,
    /// `expires` in hours since the Unix epoch.
    hour: u32,
    /// When it may go by the clock that never jumps, in seconds, rounded up.
    until: u32,
    /// When it was said, in seconds since the Unix epoch.
    at: u32,
    /// Who and why: its place among the notes.
    note: u32,
    pub(super) kind: ScopeKind,
}

const _: () = assert!(size_of::<Element>() == 44);

/// What is said about a mark, with its times in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) kind: ScopeKind,
    pub(super) not_before: Unix,
    pub(super) expires: Unix,
    pub(super) until: Moment,
    pub(super) note: Note,
}

/// The place of an element. Void after the next change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    stripe: usize,
    at: usize,
}

#[derive(Debug)]
pub(super) struct Table {
    stripes: Box<[Stripe]>,
    excepts: Slab<ScopeId>,
    notes: Interner,
    count: usize,
}

/// Sorted by scope, then exception.
#[derive(Debug, Default)]
struct Stripe {
    /// The search bytes of each element, at the same place.
    prefixes: Vec<u32>,
    elements: Vec<Element>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            stripes: (0..CHANNELS * STRIPES).map(|_| Stripe::default()).collect(),
            excepts: Slab::default(),
            notes: Interner::default(),
            count: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// The marks of a scope, each with its exception.
    pub(super) fn of_scope(&self, scope: ScopeId) -> impl Iterator<Item = (&Element, Option<ScopeId>)> {
        let Stripe { prefixes, elements } = &self.stripes[scope.slot().index()];
        let prefix = prefix_of(scope);
        let first = first_of(prefixes, prefix);
        let same = prefixes[first..].iter().take_while(move |other| **other == prefix);
        same.zip(&elements[first..])
            .map(|(_, element)| element)
            .filter(move |element| element.scope == scope)
            .map(|element| (element, self.except(element)))
    }

    pub(super) fn find(&self, key: &MarkKey) -> Option<Place> {
        self.seek(key).ok()
    }

    /// Where an element is, or where it belongs.
    pub(super) fn seek(&self, key: &MarkKey) -> Result<Place, Place> {
        let index = key.scope.slot().index();
        let stripe = &self.stripes[index];
        let mut at = first_of(&stripe.prefixes, prefix_of(key.scope));
        while let Some(element) = stripe.elements.get(at) {
            let place = Place { stripe: index, at };
            match (element.scope, self.except(element)).cmp(&(key.scope, key.except)) {
                Ordering::Less => at += 1,
                Ordering::Equal => return Ok(place),
                Ordering::Greater => return Err(place),
            }
        }
        Err(Place { stripe: index, at })
    }

    pub(super) fn terms(&self, place: Place) -> Terms {
        self.terms_of(&self.stripes[place.stripe].elements[place.at])
    }

    pub(super) fn terms_of(&self, element: &Element) -> Terms {
        Terms {
            kind: element.kind,
            not_before: element.not_before(),
            expires: u64::from(element.hour) * HOUR,
            until: Moment::from_nanos(u64::from(element.until) * SECOND),
            note: self.note_of(element),
        }
    }

    pub(super) fn note_of(&self, element: &Element) -> Note {
        let (by, why) = self.notes.get(element.note);
        Note {
            at: element.at.into(),
            by: by.into(),
            why: why.into(),
        }
    }

    fn except(&self, element: &Element) -> Option<ScopeId> {
        let at = element.except.checked_sub(1)?;
        self.excepts.get(at).copied()
    }

    /// Adds a mark that is not there, where [`Table::seek`] says that it belongs.
    pub(super) fn insert(&mut self, place: Place, key: &MarkKey, terms: &Terms) {
        let except = key.except.map_or(0, |except| self.excepts.insert(except) + 1);
        let element = self.element(key.scope, except, terms);
        let stripe = &mut self.stripes[place.stripe];
        insert(&mut stripe.prefixes, place.at, prefix_of(key.scope));
        insert(&mut stripe.elements, place.at, element);
        self.count += 1;
    }

    pub(super) fn replace(&mut self, place: Place, terms: &Terms) {
        let old = self.stripes[place.stripe].elements[place.at];
        // The new note first: if it is the same, it must not leave in between.
        let new = self.element(old.scope, old.except, terms);
        self.notes.release(old.note);
        self.stripes[place.stripe].elements[place.at] = new;
    }

    fn element(&mut self, scope: ScopeId, except: u32, terms: &Terms) -> Element {
        Element {
            scope,
            not_before: narrow(terms.not_before),
            except,
            hour: narrow(terms.expires.div_ceil(HOUR)),
            until: narrow(terms.until.as_nanos().div_ceil(SECOND)),
            at: narrow(terms.note.at),
            note: self.notes.take(&terms.note.by, &terms.note.why),
            kind: terms.kind,
        }
    }

    pub(super) fn count_of(&self, channel: ChannelId) -> usize {
        let stripes = &self.stripes[stripes_of(channel)];
        stripes.iter().map(|stripe| stripe.elements.len()).sum()
    }

    /// Every mark of a channel, by stripe and there in the order of their keys.
    pub(super) fn of_channel(&self, channel: ChannelId) -> impl Iterator<Item = (MarkKey, &Element)> {
        let stripes = &self.stripes[stripes_of(channel)];
        let marks = stripes.iter().flat_map(|stripe| &stripe.elements);
        marks.map(|element| (self.key(element), element))
    }

    /// Every mark behind a key, by stripe and there in the order of their keys.
    pub(super) fn behind(&self, after: Option<MarkKey>) -> impl Iterator<Item = (MarkKey, &Element)> {
        let (stripe, skipped) = after.map_or((0, 0), |key| match self.seek(&key) {
            Ok(place) => (place.stripe, place.at + 1),
            Err(place) => (place.stripe, place.at),
        });
        let stripes = &self.stripes[stripe..];
        let marks = stripes.iter().flat_map(|stripe| &stripe.elements).skip(skipped);
        marks.map(|element| (self.key(element), element))
    }

    fn key(&self, element: &Element) -> MarkKey {
        MarkKey {
            scope: element.scope,
            except: self.except(element),
        }
    }

    pub(super) fn mark(&self, key: MarkKey, element: &Element) -> Mark {
        let terms = self.terms_of(element);
        Mark {
            key,
            kind: terms.kind,
            not_before: terms.not_before,
            expires: terms.expires,
            note: terms.note,
        }
    }

    /// Removes the marks of a channel for which `past` says so; it sees their key and terms.
    pub(super) fn collect(&mut self, channel: ChannelId, mut past: impl FnMut(&MarkKey, &Element) -> bool) {
        for stripe in &mut self.stripes[stripes_of(channel)] {
            let before = stripe.elements.len();
            stripe.elements.retain(|element| {
                let except = element.except.checked_sub(1);
                let key = MarkKey {
                    scope: element.scope,
                    except: except.and_then(|at| self.excepts.get(at).copied()),
                };
                let goes = past(&key, element);
                if goes {
                    self.notes.release(element.note);
                    if let Some(at) = except {
                        self.excepts.remove(at);
                    }
                }
                !goes
            });
            let left = stripe.elements.len();
            if left < before {
                self.count -= before - left;
                stripe.elements.shrink_to(left + left / 8);
                stripe.prefixes = stripe.elements.iter().map(|element| prefix_of(element.scope)).collect();
            }
        }
    }
}

fn insert<T>(items: &mut Vec<T>, at: usize, item: T) {
    if items.len() == items.capacity() {
        // An eighth at a time: there are many stripes, and doubling would leave a third of the memory unused.
        items.reserve_exact(items.len() / 32 + 1);
    }
    items.insert(at, item);
}

impl Element {
    pub(super) const fn not_before(&self) -> Unix {
        self.not_before as u64
    }

    pub(super) const fn expires(&self) -> Unix {
        self.hour as u64 * HOUR
    }

    pub(super) const fn until(&self) -> Moment {
        Moment::from_nanos(self.until as u64 * SECOND)
    }
}

const fn stripes_of(channel: ChannelId) -> core::ops::Range<usize> {
    let first = channel.index() * STRIPES;
    first..first + STRIPES
}

/// Times beyond the year 2106 (a mark that voids until then voids for ever), and hours beyond 490,000 years, are kept as the greatest that fits.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Four bytes of a name that order it inside its stripe, which is the upper six bits of the first two.
fn prefix_of(scope: ScopeId) -> u32 {
    let [a, b, c, d, e, f, ..] = scope.0;
    let inside = u64::from(a & 3) << 34 | u64::from(b & 3) << 32 | u64::from(u32::from_be_bytes([c, d, e, f]));
    (inside >> 4) as u32
}

/// The first place that is not before a prefix.
fn first_of(prefixes: &[u32], prefix: u32) -> usize {
    let len = prefixes.len();
    // Names are evenly spread: where among `len` of them this one should be.
    let guess = ((u64::from(prefix) * len as u64) >> 32) as usize;
    let (mut low, mut high, mut step) = (guess, guess, 8);
    // From the guess outwards, until the place is between two bounds; then by halves.
    while low > 0 && prefixes[low - 1] >= prefix {
        high = low - 1;
        low = low.saturating_sub(step);
        step *= 2;
    }
    step = 8;
    while high < len && prefixes[high] < prefix {
        low = high + 1;
        high = (high + step).min(len);
        step *= 2;
    }
    low + prefixes[low..high].partition_point(|other| *other < prefix)
}

/// Values that keep their place.
#[derive(Debug)]
struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    fn insert(&mut self, item: T) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.items[at as usize] = Some(item);
                at
            }
            None => {
                self.items.push(Some(item));
                narrow(self.items.len() as u64 - 1)
            }
        }
    }

    fn get(&self, at: u32) -> Option<&T> {
        self.items.get(at as usize)?.as_ref()
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.items.get_mut(at as usize)?.as_mut()
    }

    fn remove(&mut self, at: u32) -> Option<T> {
        let item = self.items.get_mut(at as usize)?.take();
        if item.is_some() {
            self.free.push(at);
        }
        item
    }
}

/// Who and why: most marks share them with many others.
#[derive(Debug, Default)]
struct Interner {
    places: BTreeMap<Box<str>, u32>,
    texts: Slab<Shared>,
    /// Where the note of the newest mark was.
    last: u32,
}

#[derive(Debug)]
struct Shared {
    /// `by`, then `why`.
    text: Box<str>,
    by: u32,
    users: u32,
}

impl Interner {
    fn take(&mut self, by: &str, why: &str) -> u32 {
        self.last = self.take_anew(by, why);
        self.last
    }

    fn take_anew(&mut self, by: &str, why: &str) -> u32 {
        // Many marks in a row have the same one.
        if self.get(self.last) == (by, why)
            && let Some(shared) = self.texts.get_mut(self.last)
        {
            shared.users += 1;
            return self.last;
        }
        // The length tells ("ab", "c") from ("a", "bc").
        let key = alloc::format!("{}:{by}{why}", by.len());
        if let Some(at) = self.places.get(&*key)
            && let Some(shared) = self.texts.get_mut(*at)
        {
            shared.users += 1;
            return *at;
        }
        let at = self.texts.insert(Shared {
            text: alloc::format!("{by}{why}").into(),
            by: narrow(by.len() as u64),
            users: 1,
        });
        self.places.insert(key.into(), at);
        at
    }

    fn get(&self, at: u32) -> (&str, &str) {
        self.texts
            .get(at)
            .and_then(|shared| shared.text.split_at_checked(shared.by as usize))
            .unwrap_or_default()
    }

    fn release(&mut self, at: u32) {
        let Some(shared) = self.texts.get_mut(at) else { return };
        shared.users -= 1;
        if shared.users == 0
            && let Some(shared) = self.texts.remove(at)
        {
            let (by, why) = shared.text.split_at(shared.by as usize);
            self.places.remove(&*alloc::format!("{}:{by}{why}", by.len()));
        }
    }
}
