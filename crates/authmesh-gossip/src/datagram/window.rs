//! Which sequences of a session were taken.

/// How far behind the highest a sequence may be and still be taken.
pub(crate) const WINDOW: u64 = 1024;

const WORDS: usize = (WINDOW / 64) as usize;

/// The highest sequence that was taken, and which of the [`WINDOW`] up to it were.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    highest: u64,
    /// The bit of a sequence is its remainder by [`WINDOW`].
    taken: [u64; WORDS],
}

impl Window {
    /// A window that begins with a sequence that was taken.
    pub(crate) fn beginning(sequence: u64) -> Self {
        let mut window = Self {
            highest: sequence,
            taken: [0; WORDS],
        };
        window.set(sequence);
        window
    }

    const fn place(sequence: u64) -> (usize, u64) {
        let bit = sequence % WINDOW;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn set(&mut self, sequence: u64) {
        let (word, bit) = Self::place(sequence);
        self.taken[word] |= bit;
    }

    /// Takes a sequence. `false`: it was taken before, or is too old to tell.
    pub(crate) fn take(&mut self, sequence: u64) -> bool {
        if sequence > self.highest {
            if sequence - self.highest >= WINDOW {
                self.taken = [0; WORDS];
            } else {
                for skipped in self.highest + 1..sequence {
                    let (word, bit) = Self::place(skipped);
                    self.taken[word] &= !bit;
                }
            }
            self.highest = sequence;
        } else {
            let (word, bit) = Self::place(sequence);
            if self.highest - sequence >= WINDOW || self.taken[word] & bit != 0 {
                return false;
            }
        }
        self.set(sequence);
        true
    }
}
