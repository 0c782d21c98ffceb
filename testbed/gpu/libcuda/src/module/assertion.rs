//! Device-side `assert`: a function that the driver provides, `__assertfail`.
//!
//! A compiler leaves it as an external function ("PTX Writer's Guide to Interoperability", "System Calls"). This driver
//! gives it a body in PTX, in the place of its declaration and on the lines of it: it leaves its arguments in a
//! variable of the module, and traps. What stands in the variable after the trap is what the program's `assert` said.

mod provide;

pub use provide::provide;
use testbed_ptx::{Fault, FaultKind};

use super::Module;
use provide::VARIABLE;

/// Longest text of an assertion that is read: an expression and a path are shorter.
const LONGEST: u64 = 4_096;

impl Module {
    /// What a failed assertion said, if it is one that stopped a launch.
    pub fn assertion(&self, fault: &Fault) -> Option<String> {
        if fault.kind != FaultKind::Trap || Some(fault.line) != self.assertion_line {
            return None;
        }
        let (address, _) = self.variable(VARIABLE).ok()?;
        let mut bytes = [0; 32];
        self.device.memory.read(address, &mut bytes).ok()?;
        let mut words = [0_u64; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = bytes
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        let [expression, file, function, line] = words;
        Some(format!(
            "assertion `{}` failed in {} at {}:{line}",
            self.text(expression),
            self.text(function),
            self.text(file),
        ))
    }

    /// A text in the card's memory, as far as its zero.
    fn text(&self, address: u64) -> String {
        let Some((start, size)) = self.device.memory.range(address) else {
            return "?".into();
        };
        let length = usize::try_from((start + size - address).min(LONGEST)).unwrap_or(0);
        let mut bytes = vec![0; length];
        if self.device.memory.read(address, &mut bytes).is_err() {
            return "?".into();
        }
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(length);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}
