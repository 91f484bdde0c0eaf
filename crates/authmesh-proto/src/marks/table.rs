//! Where a node holds its marks: 48 bytes each, found in one or two cache lines.
//!
//! Names of scopes are keyed and so evenly spread: the place of one among its sorted neighbours is guessed from its bytes,
//! and the guess is off by a few. A stripe holds 1/4096 of all marks, so that an insertion moves little.

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
    pub(super) not_before: Unix,
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

const _: () = assert!(size_of::<Element>() == 48);

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
    /// Sorted by scope, then exception.
    stripes: Box<[Vec<Element>]>,
    excepts: Slab<ScopeId>,
    notes: Interner,
    count: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            stripes: (0..CHANNELS * STRIPES).map(|_| Vec::new()).collect(),
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
        let stripe = &self.stripes[scope.slot().index()];
        stripe[first_of(stripe, scope)..]
            .iter()
            .take_while(move |element| element.scope == scope)
            .map(|element| (element, self.except(element)))
    }

    pub(super) fn find(&self, key: &MarkKey) -> Option<Place> {
        self.seek(key).ok()
    }

    /// Where an element is, or where it belongs.
    fn seek(&self, key: &MarkKey) -> Result<Place, Place> {
        let index = key.scope.slot().index();
        let stripe = &self.stripes[index];
        let mut at = first_of(stripe, key.scope);
        while let Some(element) = stripe.get(at) {
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
        self.terms_of(&self.stripes[place.stripe][place.at])
    }

    pub(super) fn terms_of(&self, element: &Element) -> Terms {
        Terms {
            kind: element.kind,
            not_before: element.not_before,
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

    /// Adds a mark that is not there.
    pub(super) fn insert(&mut self, key: &MarkKey, terms: &Terms) {
        let Err(place) = self.seek(key) else { return };
        let except = key.except.map_or(0, |except| self.excepts.insert(except) + 1);
        let element = self.element(key.scope, except, terms);
        let stripe = &mut self.stripes[place.stripe];
        if stripe.len() == stripe.capacity() {
            // An eighth at a time: there are many stripes, and doubling would leave a third of the memory unused.
            stripe.reserve_exact(stripe.len() / 8 + 1);
        }
        stripe.insert(place.at, element);
        self.count += 1;
    }

    pub(super) fn replace(&mut self, place: Place, terms: &Terms) {
        let old = self.stripes[place.stripe][place.at];
        // The new note first: if it is the same, it must not leave in between.
        let new = self.element(old.scope, old.except, terms);
        self.notes.release(old.note);
        self.stripes[place.stripe][place.at] = new;
    }

    fn element(&mut self, scope: ScopeId, except: u32, terms: &Terms) -> Element {
        Element {
            scope,
            not_before: terms.not_before,
            except,
            hour: narrow(terms.expires.div_ceil(HOUR)),
            until: narrow(terms.until.as_nanos().div_ceil(SECOND)),
            at: narrow(terms.note.at),
            note: self.notes.take(&terms.note.by, &terms.note.why),
            kind: terms.kind,
        }
    }

    /// Every mark of a channel, in the order of their keys.
    pub(super) fn of_channel(&self, channel: ChannelId) -> impl Iterator<Item = (MarkKey, &Element)> {
        self.stripes[stripes_of(channel)].iter().flatten().map(|element| {
            let key = MarkKey {
                scope: element.scope,
                except: self.except(element),
            };
            (key, element)
        })
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
            let before = stripe.len();
            stripe.retain(|element| {
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
            self.count -= before - stripe.len();
            if stripe.capacity() > 2 * stripe.len() + 8 {
                stripe.shrink_to(stripe.len() + stripe.len() / 8);
            }
        }
    }
}

impl Element {
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

/// Times beyond the year 2106, and hours beyond 490,000 years, are kept as the greatest that fits.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The first element of a scope, or where it would be.
fn first_of(stripe: &[Element], scope: ScopeId) -> usize {
    let (mut low, mut high) = (0, stripe.len());
    let mut at = guess(scope, high);
    let mut step = 4;
    // From the guess outwards, until the place is between two bounds; then by halves.
    while low < high {
        if stripe.get(at).is_some_and(|element| element.scope < scope) {
            low = at + 1;
            at = (at + step).min(high);
            if at == high || stripe[at].scope >= scope {
                high = at;
                break;
            }
        } else {
            high = at;
            at = at.saturating_sub(step).max(low);
            if stripe.get(at).is_none_or(|element| element.scope < scope) {
                low = at;
                break;
            }
        }
        step *= 2;
    }
    low + stripe[low..high].partition_point(|element| element.scope < scope)
}

/// Names are evenly spread inside a stripe: where among `len` of them this one should be.
fn guess(scope: ScopeId, len: usize) -> usize {
    let [a, b, c, d, e, f, ..] = scope.0;
    // The stripe is the upper six bits of the first two bytes.
    let inside = u64::from(a & 3) << 34
        | u64::from(b & 3) << 32
        | u64::from(u32::from_be_bytes([c, d, e, f]));
    ((inside * len as u64) >> 36) as usize
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
