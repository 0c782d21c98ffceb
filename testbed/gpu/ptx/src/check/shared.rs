//! Who touched each word of shared memory last: races, and reads of what nobody wrote.
//!
//! A word is tracked as a whole until an access touches a part of it; from then on, byte by byte.

/// Who did an access and when: clock, flags, thread. Zero is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(u64);

const ATOMIC: u64 = 1 << 16;
const PENDING: u64 = 1 << 17;

impl Stamp {
    const NOBODY: Self = Self(0);
    const SPLIT: Self = Self(u64::MAX);

    #[inline]
    fn new(thread: u32, clock: u32, flags: u64) -> Self {
        Self(u64::from(clock) << 32 | flags | u64::from(thread + 1))
    }

    /// The thread's number in its block.
    #[inline]
    pub fn thread(self) -> u32 {
        ((self.0 & 0xffff) as u32).wrapping_sub(1)
    }

    #[inline]
    fn clock(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn is(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
}

/// The thread that accesses, and what its warp has seen.
#[derive(Clone, Copy, Debug)]
pub struct Accessor<'o> {
    /// The thread's number in its block.
    pub thread: u32,
    /// Its warp's own clock.
    pub clock: u32,
    /// What its warp has seen, by warp: see [`super::order::Order`].
    pub seen: &'o [u32],
}

impl Accessor<'_> {
    #[inline]
    fn stamp(&self, flags: u64) -> Stamp {
        Stamp::new(self.thread, self.clock, flags)
    }

    /// Whether an access by another thread may happen at the same time as one of this thread.
    #[inline]
    fn unordered(&self, other: Stamp) -> bool {
        let thread = other.thread();
        other != Stamp::NOBODY && thread != self.thread && other.clock() >= self.seen[(thread / 32) as usize]
    }
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It reads.
    Read,
    /// It writes; whether it writes what is there already, which any number of threads may do.
    Write { same: bool },
    /// It reads and writes as one step.
    Atomic,
    /// It will be written by `cp.async`, at some time before the copy is waited for.
    Begin,
    /// The copy was waited for.
    Finish,
}

/// What is wrong with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hazard {
    /// It reads what nobody wrote.
    Uninitialised,
    /// Another thread wrote, with nothing in between: this read or write is too early.
    AfterWrite { thread: u32 },
    /// Another thread read, with nothing in between: this write is too early.
    AfterRead { thread: u32 },
    /// A copy by `cp.async` is under way there.
    Pending { thread: u32 },
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    write: Stamp,
    reads: [Stamp; 2],
}

impl Cell {
    #[inline]
    fn touch(&mut self, touch: Touch, by: &Accessor<'_>) -> Option<Hazard> {
        match touch {
            Touch::Read => self.read(by),
            Touch::Finish => {
                *self = Self {
                    write: by.stamp(0),
                    reads: [Stamp::NOBODY; 2],
                };
                None
            }
            Touch::Write { same } => self.write(by, same, 0),
            Touch::Begin => self.write(by, false, PENDING),
            Touch::Atomic if self.write == Stamp::NOBODY => Some(Hazard::Uninitialised),
            Touch::Atomic => self.write(by, self.write.is(ATOMIC), ATOMIC),
        }
    }

    #[inline]
    fn read(&mut self, by: &Accessor<'_>) -> Option<Hazard> {
        if self.write == Stamp::NOBODY {
            return Some(Hazard::Uninitialised);
        }
        if self.write.is(PENDING) {
            return Some(Hazard::Pending {
                thread: self.write.thread(),
            });
        }
        if by.unordered(self.write) {
            return Some(Hazard::AfterWrite {
                thread: self.write.thread(),
            });
        }
        // Two readers are kept, so that a write by one of them is still seen to race with the other.
        let slot = usize::from(by.unordered(self.reads[0]));
        self.reads[slot] = by.stamp(0);
        None
    }

    #[inline]
    fn write(&mut self, by: &Accessor<'_>, allowed: bool, flags: u64) -> Option<Hazard> {
        if self.write.is(PENDING) {
            return Some(Hazard::Pending {
                thread: self.write.thread(),
            });
        }
        if !allowed && by.unordered(self.write) {
            return Some(Hazard::AfterWrite {
                thread: self.write.thread(),
            });
        }
        for read in self.reads {
            if by.unordered(read) {
                return Some(Hazard::AfterRead {
                    thread: read.thread(),
                });
            }
        }
        *self = Self {
            write: by.stamp(flags),
            reads: [Stamp::NOBODY; 2],
        };
        None
    }
}

/// The record of a block's shared memory.
#[derive(Debug, Default)]
pub struct Record {
    words: Vec<Cell>,
    /// Words that were touched in parts; such a word holds [`Stamp::SPLIT`] and its place here.
    parts: Vec<[Cell; 4]>,
}

impl Record {
    /// Begins a block: nobody has touched anything.
    pub fn reset(&mut self, bytes: usize) {
        self.words.clear();
        self.words.resize(bytes.div_ceil(4), Cell::default());
        self.parts.clear();
    }

    /// Notes an access of `size` bytes at an aligned offset within the memory.
    #[inline]
    pub fn touch(&mut self, offset: usize, size: usize, touch: Touch, by: &Accessor<'_>) -> Option<Hazard> {
        if size < 4 {
            return self.touch_part(offset, size, touch, by);
        }
        for word in offset / 4..(offset + size) / 4 {
            let cell = &mut self.words[word];
            let found = if cell.write == Stamp::SPLIT {
                self.touch_part(word * 4, 4, touch, by)
            } else {
                cell.touch(touch, by)
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn touch_part(&mut self, offset: usize, size: usize, touch: Touch, by: &Accessor<'_>) -> Option<Hazard> {
        let cell = &mut self.words[offset / 4];
        if cell.write != Stamp::SPLIT {
            self.parts.push([*cell; 4]);
            let place = Stamp(self.parts.len() as u64 - 1);
            *cell = Cell {
                write: Stamp::SPLIT,
                reads: [place, Stamp::NOBODY],
            };
        }
        #[expect(clippy::cast_possible_truncation, reason = "a place in a list of this host")]
        let parts = &mut self.parts[cell.reads[0].0 as usize];
        (offset % 4..offset % 4 + size).find_map(|byte| parts[byte].touch(touch, by))
    }
}

#[cfg(test)]
mod tests;
