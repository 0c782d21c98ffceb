//! Groups: the lanes of a warp that stand at one place. Lanes part at branches and meet again where they come to the
//! same place; the group that is furthest behind goes first, which makes them meet behind loops and conditions.

use std::collections::HashMap;

use super::registers::Window;

/// What a group waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing.
    Runs,
    /// Lanes that its mask names.
    Lanes,
    /// A barrier of the block.
    Barrier(u8),
}

/// Lanes at one place.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The step they stand at.
    pub at: u32,
    /// Which lanes.
    pub lanes: u32,
    /// The call they are in.
    pub frame: u32,
    /// What they wait for.
    pub waiting: Waiting,
}

/// A call that lanes are in.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The calling frame.
    pub parent: u32,
    /// The step behind the call.
    pub back: u32,
    /// The function's number.
    pub function: u32,
    /// Which of the call's targets was taken, and the step of the call: how results are passed back.
    pub call: (u32, u32),
    /// Its registers.
    pub window: Window,
    /// Where its local memory begins.
    pub local: u32,
    /// Calls above it.
    pub depth: u32,
}

/// The groups of a warp.
#[derive(Debug, Default)]
pub struct Groups {
    /// All of them; at most 32.
    pub all: Vec<Group>,
    /// Calls that were ever made, by caller, step and target: the lanes of two groups in one call share a frame.
    pub frames: Vec<Frame>,
    /// Finds a call in `frames`.
    pub known: HashMap<(u32, u32, u32), u32>,
}

impl Groups {
    /// Begins a warp: all lanes at the kernel's start.
    pub fn reset(&mut self, entry: u32, lanes: u32) {
        self.all.clear();
        self.all.push(Group {
            at: entry,
            lanes,
            frame: 0,
            waiting: Waiting::Runs,
        });
        self.frames.truncate(1);
        if self.frames.is_empty() {
            let window = Window::default();
            self.frames.push(Frame {
                parent: 0,
                back: 0,
                function: 0,
                call: (0, 0),
                window,
                local: 0,
                depth: 0,
            });
        }
        self.known.clear();
    }

    /// Lanes that have not ended.
    pub fn live(&self) -> u32 {
        self.all.iter().fold(0, |lanes, group| lanes | group.lanes)
    }

    /// Joins groups that run at one place.
    fn merge(&mut self) {
        let mut at = 0;
        while at < self.all.len() {
            let group = self.all[at];
            let same = |other: &Group| {
                (other.at, other.frame, other.waiting) == (group.at, group.frame, group.waiting)
            };
            if group.waiting == Waiting::Runs
                && let Some(other) = self.all[..at].iter_mut().find(|other| same(other))
            {
                other.lanes |= group.lanes;
                self.all.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// Takes out the group that goes next: the deepest in calls, then the furthest behind; with `last`, the furthest
    /// ahead, so that lanes that others wait for in a loop get on.
    pub fn next(&mut self, last: bool) -> Option<Group> {
        if self.all.len() > 1 {
            self.merge();
        }
        let running = self
            .all
            .iter()
            .enumerate()
            .filter(|(_, group)| group.waiting == Waiting::Runs);
        let order = |group: &Group| (u32::MAX - self.frames[group.frame as usize].depth, group.at);
        let found = if last {
            running.max_by_key(|(_, group)| order(group))
        } else {
            running.min_by_key(|(_, group)| order(group))
        };
        let (at, _) = found?;
        Some(self.all.swap_remove(at))
    }

    /// The step at which a group must look whether it meets another: the next place ahead where one stands.
    pub fn horizon(&self, group: &Group) -> u32 {
        let ahead = self
            .all
            .iter()
            .filter(|other| other.frame == group.frame && other.at > group.at);
        ahead.map(|other| other.at).min().unwrap_or(u32::MAX)
    }
}
