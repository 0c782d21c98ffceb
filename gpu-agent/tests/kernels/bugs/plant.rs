//! Mistakes as changes of PTX text. Each finds its place by the shape of the code, and fails where there is none.

/// Changes the lines of one kernel; `None` removes a line.
fn change(ptx: &str, kernel: &str, mut each: impl FnMut(&[&str], usize) -> Option<String>) -> String {
    let lines: Vec<&str> = ptx.lines().collect();
    let start = lines
        .iter()
        .position(|line| line.contains(&format!(".entry {kernel}(")))
        .unwrap_or_else(|| panic!("the text has no kernel {kernel}"));
    let end = start
        + lines[start..]
            .iter()
            .position(|line| *line == "}")
            .expect("an end");
    let mut changed = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if (start..end).contains(&index) {
            changed.extend(each(&lines[..end], index));
        } else {
            changed.push((*line).to_owned());
        }
    }
    let changed = changed.join("\n");
    assert_ne!(changed, lines.join("\n"), "{kernel} has no place for this bug");
    changed
}

/// Mnemonic and operands of a line.
fn parts(line: &str) -> (&str, Vec<&str>) {
    let (name, operands) = line.split_once(' ').unwrap_or((line, ""));
    (name, operands.trim_end_matches(';').split(", ").collect())
}

/// The first barrier of the block is forgotten.
pub fn missing_barrier(ptx: &str, kernel: &str) -> String {
    let mut barriers = 0;
    change(ptx, kernel, |lines, at| {
        barriers += usize::from(lines[at] == "bar.sync 0;");
        let is_first = barriers == 1 && lines[at] == "bar.sync 0;";
        (!is_first).then(|| lines[at].to_owned())
    })
}

/// Before the kernel ends there is one more barrier, in a branch that the first warp alone takes.
pub fn divergent_barrier(ptx: &str, kernel: &str) -> String {
    change(ptx, kernel, |lines, at| {
        Some(if lines[at] == "ret;" {
            "{ .reg .pred %first; .reg .b32 %thread; mov.u32 %thread, %tid.x; setp.lt.u32 %first, %thread, 32; \
             @%first bar.sync 0; } ret;"
                .to_owned()
        } else {
            lines[at].to_owned()
        })
    })
}

/// `index >= count` becomes `index > count`.
pub fn off_by_one(ptx: &str, kernel: &str) -> String {
    change(ptx, kernel, |lines, at| {
        Some(lines[at].replace("setp.ge.u64", "setp.gt.u64"))
    })
}

/// Words of activations are loaded and not put into shared memory.
pub fn dropped_store(ptx: &str, kernel: &str) -> String {
    change(ptx, kernel, |lines, at| {
        (!lines[at].starts_with("st.shared.v4.u32")).then(|| lines[at].to_owned())
    })
}

/// Each warp's copy of a segment begins before the end of the one before.
pub fn wrong_stride(ptx: &str, kernel: &str) -> String {
    change(ptx, kernel, |lines, at| {
        Some(lines[at].replace(", 576;", ", 512;"))
    })
}

/// High nibbles are taken for low ones.
pub fn swapped_nibbles(ptx: &str, kernel: &str) -> String {
    change(ptx, kernel, |lines, at| {
        let (name, operands) = parts(lines[at]);
        let masked = lines.get(at + 1).is_some_and(|next| {
            let (name, taken) = parts(next);
            name == "and.b32" && taken[1] == operands[0] && taken.get(2) == Some(&"252645135")
        });
        Some(if name == "shr.u32" && operands[2] == "4" && masked {
            format!("{name} {}, {}, 0;", operands[0], operands[1])
        } else {
            lines[at].to_owned()
        })
    })
}

/// Every block number read from a table, which are the 32-bit loads into 64-bit registers after the first barrier, is
/// 0.
pub fn ignored_table(ptx: &str, kernel: &str) -> String {
    let mut after_barrier = false;
    change(ptx, kernel, |lines, at| {
        after_barrier |= lines[at] == "bar.sync 0;";
        let (name, operands) = parts(lines[at]);
        let is_table = after_barrier && name == "ld.global.u32" && operands[0].starts_with("%rd");
        Some(if is_table {
            format!("mov.u64 {}, 0;", operands[0])
        } else {
            lines[at].to_owned()
        })
    })
}

/// `(a + b) + (c + d)` becomes `((a + b) + c) + d`.
pub fn reordered_sum(ptx: &str, kernel: &str) -> String {
    change(ptx, kernel, |lines, at| {
        let sums = |at: usize| {
            lines
                .get(at)
                .map(|line| parts(line))
                .filter(|(name, _)| *name == "add.rn.f32")
        };
        // This line is the second of three sums of which the third adds the first two.
        if let (Some((_, first)), Some((_, second)), Some((_, third))) =
            (at.checked_sub(1).and_then(sums), sums(at), sums(at + 1))
            && (third[1..] == [first[0], second[0]] || third[1..] == [second[0], first[0]])
        {
            return Some(format!("add.rn.f32 {}, {}, {};", second[0], first[0], second[1]));
        }
        if let (Some((_, first)), Some((_, second)), Some((_, third))) = (
            at.checked_sub(2).and_then(sums),
            at.checked_sub(1).and_then(sums),
            sums(at),
        ) && (third[1..] == [first[0], second[0]] || third[1..] == [second[0], first[0]])
        {
            return Some(format!("add.rn.f32 {}, {}, {};", third[0], second[0], second[2]));
        }
        Some(lines[at].to_owned())
    })
}

/// A product and the sum after it become one operation with one rounding.
pub fn contracted(ptx: &str, kernel: &str) -> String {
    change(ptx, kernel, |lines, at| {
        let (name, sum) = parts(lines[at]);
        let (before, product) = parts(lines[at - 1]);
        Some(
            if name == "add.rn.f32" && before == "mul.rn.f32" && sum[2] == product[0] {
                format!(
                    "fma.rn.f32 {}, {}, {}, {};",
                    sum[0], product[1], product[2], sum[1]
                )
            } else {
                lines[at].to_owned()
            },
        )
    })
}

/// Halves are cut off, not rounded.
pub fn truncated(ptx: &str, kernel: &str) -> String {
    change(ptx, kernel, |lines, at| {
        Some(lines[at].replace("cvt.rn.f16.f32", "cvt.rz.f16.f32"))
    })
}
