//! What the lanes of a warp do together, once all that the mask names have come.

use super::block::Core;
use super::mask::lanes;
use super::stop::{Step, Stop};
use super::warp::Warp;
use crate::FaultKind;
use crate::arith::Narrow;
use crate::program::{Collective, Reduce, Register, Row, Shuffle, ShuffleMode};

impl Core<'_> {
    /// Tries to execute a collective for the lanes that have come: the lanes it was done for. The others wait on.
    pub fn collective(
        &mut self,
        warp: &mut Warp,
        mask: Row,
        collective: &Collective,
        came: u32,
        live: u32,
    ) -> Step<u32> {
        let masks = *warp.registers.narrow(&self.machine.pool, mask, came)?;
        if masks[came.trailing_zeros() as usize & 31] & live == came {
            // The usual case: one mask, and everybody is here.
            let same = lanes(came).all(|lane| masks[lane] == masks[came.trailing_zeros() as usize & 31]);
            if same {
                self.execute(warp, collective, came)?;
                return Ok(came);
            }
        }
        let (mut rest, mut done) = (came, 0);
        while rest != 0 {
            let first = rest.trailing_zeros() as usize;
            let mask = masks[first];
            let members = lanes(rest)
                .filter(|&lane| masks[lane] == mask)
                .fold(0, |members, lane| members | 1 << lane);
            if let Some(lane) = lanes(members).find(|&lane| mask >> lane & 1 == 0) {
                let message = format!(
                    "Invalid arguments: lane {lane} executes a warp operation whose mask {mask:#010x} does not name it"
                );
                return Err(Stop::new(FaultKind::Mask, lane as u32, message));
            }
            if mask & live == members {
                self.execute(warp, collective, members)?;
                done |= members;
            }
            rest &= !members;
        }
        Ok(done)
    }

    fn execute(&mut self, warp: &mut Warp, collective: &Collective, members: u32) -> Step {
        let pool = &self.machine.pool;
        let registers = &mut warp.registers;
        match *collective {
            Collective::Sync => self.order.advance(warp.number as usize),
            Collective::Shuffle(ref shuffle) => {
                let value = *registers.narrow(pool, shuffle.value, members)?;
                let lane = *registers.narrow(pool, shuffle.lane, members)?;
                let clamp = *registers.narrow(pool, shuffle.clamp, members)?;
                let (moved, in_range) = shuffled(shuffle, &value, &lane, &clamp, members)?;
                registers.write_narrow(shuffle.result, &moved, members);
                if let Some(row) = shuffle.in_range {
                    registers.write_predicate(row, in_range, members);
                }
            }
            Collective::All(to, of) => {
                let held = registers.predicate(of, members)?;
                registers.write_predicate(to, if held == members { u32::MAX } else { 0 }, members);
            }
            Collective::Any(to, of) => {
                let held = registers.predicate(of, members)?;
                registers.write_predicate(to, if held != 0 { u32::MAX } else { 0 }, members);
            }
            Collective::Uniform(to, of) => {
                let held = registers.predicate(of, members)?;
                registers.write_predicate(
                    to,
                    if held == members || held == 0 { u32::MAX } else { 0 },
                    members,
                );
            }
            Collective::Ballot(to, of) => {
                let held = registers.predicate(of, members)?;
                registers.write_narrow(to, &[held; 32], members);
            }
            Collective::MatchAny(to, value) => {
                let mut found = [0; 32];
                for lane in lanes(members) {
                    let own = registers.lane(pool, value, lane)?;
                    for other in lanes(members) {
                        found[lane] |= u32::from(registers.lane(pool, value, other)? == own) << other;
                    }
                }
                registers.write_narrow(to, &found, members);
            }
            Collective::MatchAll(to, predicate, value) => {
                let first = registers.lane(pool, value, members.trailing_zeros() as usize)?;
                let mut all = true;
                for lane in lanes(members) {
                    all &= registers.lane(pool, value, lane)? == first;
                }
                registers.write_narrow(to, &[if all { members } else { 0 }; 32], members);
                if let Some(predicate) = predicate {
                    registers.write_predicate(predicate, if all { u32::MAX } else { 0 }, members);
                }
            }
            Collective::Reduce(reduce, to, value) => {
                let values = registers.narrow(pool, value, members)?;
                let joined = lanes(members)
                    .map(|lane| values[lane])
                    .reduce(|a, b| join(reduce, a, b))
                    .unwrap_or(0);
                registers.write_narrow(to, &[joined; 32], members);
            }
            Collective::Elect(leader, predicate) => {
                let first = members.trailing_zeros();
                for lane in lanes(members) {
                    registers.set_lane(Register::W(leader), lane, first.into());
                }
                registers.write_predicate(predicate, 1 << first, members);
            }
        }
        Ok(())
    }
}

fn join(reduce: Reduce, a: u32, b: u32) -> u32 {
    match reduce {
        Reduce::Add => a.wrapping_add(b),
        Reduce::LeastU32 => a.min(b),
        Reduce::MostU32 => a.max(b),
        Reduce::LeastS32 => a.cast_signed().min(b.cast_signed()).cast_unsigned(),
        Reduce::MostS32 => a.cast_signed().max(b.cast_signed()).cast_unsigned(),
        Reduce::And => a & b,
        Reduce::Or => a | b,
        Reduce::Xor => a ^ b,
    }
}

/// The lane that each lane reads, as PTX ISA 9.7.8.6 spells it out, and whether it was in range.
fn shuffled(
    shuffle: &Shuffle,
    value: &Narrow,
    lane: &Narrow,
    clamp: &Narrow,
    members: u32,
) -> Step<(Narrow, u32)> {
    let (mut moved, mut in_range) = (*value, 0);
    for own in lanes(members) {
        let number = own as i32;
        let distance = (lane[own] & 31).cast_signed();
        let (limit, segment) = (
            (clamp[own] & 31).cast_signed(),
            (clamp[own] >> 8 & 31).cast_signed(),
        );
        let most = (number & segment) | (limit & !segment);
        let least = number & segment;
        let (from, within) = match shuffle.mode {
            ShuffleMode::Up => (number - distance, number - distance >= most),
            ShuffleMode::Down => (number + distance, number + distance <= most),
            ShuffleMode::Butterfly => (number ^ distance, number ^ distance <= most),
            ShuffleMode::Index => {
                let from = least | (distance & !segment);
                (from, from <= most)
            }
        };
        let from = if within { from as usize & 31 } else { own };
        if members >> from & 1 == 0 {
            let message = format!(
                "Invalid arguments: a shuffle reads lane {from}, which has exited or is not in the mask {members:#010x}"
            );
            return Err(Stop::new(FaultKind::Mask, own as u32, message));
        }
        moved[own] = value[from];
        in_range |= u32::from(within) << own;
    }
    Ok((moved, in_range))
}
