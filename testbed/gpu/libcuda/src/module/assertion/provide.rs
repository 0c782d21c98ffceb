//! The body of `__assertfail`, in the place of its declaration.

use std::borrow::Cow;

/// The variable in which a failed assertion leaves its arguments.
pub const VARIABLE: &str = "__testbed_assertion";

/// The function's body: the addresses of expression, file and function, and the line.
const BODY: &str = ".global .align 8 .b8 __testbed_assertion[32]; .func __assertfail(.param .b64 a, .param .b64 b, \
    .param .b32 c, .param .b64 d, .param .b64 e) { .reg .b64 %x<4>; .reg .b32 %y; ld.param.u64 %x0, [a]; \
    ld.param.u64 %x1, [b]; ld.param.u32 %y, [c]; ld.param.u64 %x2, [d]; cvt.u64.u32 %x3, %y; \
    st.global.u64 [__testbed_assertion], %x0; st.global.u64 [__testbed_assertion+8], %x1; \
    st.global.u64 [__testbed_assertion+16], %x2; st.global.u64 [__testbed_assertion+24], %x3; trap; }";

/// Gives `__assertfail` its body, if the module declares it. Lines stay where they are. The line of the body, from 1.
pub fn provide(text: &str) -> (Cow<'_, str>, Option<u32>) {
    let Some((start, end)) = declaration(text) else {
        return (Cow::Borrowed(text), None);
    };
    let line = 1 + text[..start].matches('\n').count();
    let lines = "\n".repeat(text[start..end].matches('\n').count());
    let whole = [&text[..start], BODY, &lines, &text[end..]].concat();
    (Cow::Owned(whole), u32::try_from(line).ok())
}

/// Where the declaration begins, and where it ends behind its semicolon.
fn declaration(text: &str) -> Option<(usize, usize)> {
    for (start, word) in text.match_indices(".extern") {
        let mut words = text[start + word.len()..].split_ascii_whitespace();
        let function = words.next() == Some(".func");
        let named = words
            .next()
            .is_some_and(|name| name.split('(').next() == Some("__assertfail"));
        if function && named {
            return Some((start, start + text[start..].find(';')? + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use testbed_ptx::Capability;

    use super::provide;

    const DECLARED: &str = ".version 8.0\n.target sm_75\n.address_size 64\n\n.extern .func __assertfail\n(\n\t.param .b64 p0,\n\
        \t.param .b64 p1,\n\t.param .b32 p2,\n\t.param .b64 p3,\n\t.param .b64 p4\n)\n;\n.visible .entry k()\n{\n\tret;\n}\n";

    #[test]
    fn the_body_takes_the_place_of_the_declaration() {
        let (text, line) = provide(DECLARED);
        assert_eq!(line, Some(5));
        assert_eq!(text.lines().count(), DECLARED.lines().count());
        assert_eq!(text.lines().position(|line| line.contains(".entry")), Some(13));
        let module = testbed_ptx::Module::parse(&text, Capability { major: 7, minor: 5 });
        assert!(module.is_ok(), "{module:?}");
    }

    #[test]
    fn other_modules_stay_as_they_are() {
        for text in [
            "",
            ".extern",
            ".extern .func",
            ".extern .func __assertfail",
            ".extern .func other();",
            ".extern .shared x;",
        ] {
            assert_eq!(provide(text).0, text);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\.extern|\\.func|__assertfail|\\(|;|[ \n]|\\PC){0,20}") {
            let _ = provide(&text);
        }
    }
}
