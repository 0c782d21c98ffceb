//! Bad text: refused by kind, line and token; never a panic, never an endless loop.

mod support;

use proptest::prelude::*;
use testbed_ptx::{Capability, Launch, Limits, Memory, Module, ParseError, ParseErrorKind, run};

const DEVICE: Capability = Capability { major: 9, minor: 0 };
const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

fn refused(text: &str) -> ParseError {
    Module::parse(text, DEVICE).expect_err(text)
}

fn assert_refused(text: &str, kind: ParseErrorKind, line: u32, word: &str) {
    let error = refused(text);
    assert_eq!((error.kind, error.line), (kind, line), "{error}\n{text}");
    assert!(
        error.to_string().contains(word),
        "`{word}` is missing in: {error}"
    );
}

fn body(code: &str) -> String {
    format!(
        "{HEAD}.visible .entry k(.param .u64 p) {{\n.reg .b32 %r<5>; .reg .b64 %d<5>; .reg .f32 %f<5>; .reg .pred %p<5>; .reg .b16 %h<5>;\n{code}\nret; }}\n"
    )
}

#[test]
fn versions_and_targets_are_held_against_the_device() {
    use ParseErrorKind::{Syntax, UnsupportedTarget, UnsupportedVersion};
    assert_refused("\n.version 8.1\n.target sm_80\n", UnsupportedVersion, 2, "8.1");
    assert_refused(".version 9.0\n.target sm_80\n", UnsupportedVersion, 1, "9.0");
    assert_refused(".version 7.0\n.target sm_xx\n", UnsupportedTarget, 2, "sm_xx");
    assert_refused(".target sm_80\n", Syntax, 1, ".version");
    assert_refused("", Syntax, 1, "the end of the text");
    let old = Capability { major: 7, minor: 5 };
    let error = Module::parse(&body(""), old).expect_err("newer than the device");
    assert_eq!(error.kind, UnsupportedTarget);
    assert!(
        error.message.contains("sm_80") && error.message.contains("sm_75"),
        "{error}"
    );
}

#[test]
fn unknown_instructions_modifiers_and_directives_are_named() {
    use ParseErrorKind::{
        NotImplemented, UnknownDirective, UnknownInstruction, UnknownModifier, UnsupportedTarget,
    };
    assert_refused(
        &body("mov.u32 %r1, 0;\nfrobnicate.u32 %r1, %r2;"),
        UnknownInstruction,
        7,
        "`frobnicate`",
    );
    assert_refused(
        &body("add.wild.u32 %r1, %r2, %r3;"),
        UnknownModifier,
        6,
        "`.wild`",
    );
    assert_refused(&body("add.pred %p1, %p2, %p3;"), UnknownModifier, 6, "type .pred");
    assert_refused(
        &body("div.f32 %f1, %f2, %f3;"),
        UnknownModifier,
        6,
        "rounding mode",
    );
    assert_refused(
        &body("shfl.idx.b32 %r1, %r2, 0, 31;"),
        UnknownModifier,
        6,
        "shfl.sync",
    );
    assert_refused(&body(".frob 5;"), UnknownDirective, 6, "`.frob`");
    assert_refused(
        &format!("{HEAD}.wild .entry k() {{ ret; }}"),
        UnknownDirective,
        4,
        "`.wild`",
    );
    assert_refused(
        &body("tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [t, {%f1,%f2}];"),
        ParseErrorKind::Syntax,
        6,
        "`]`",
    );
    assert_refused(
        &body("wmma.load.a.sync.aligned.row.m16n16k16.f16 {%r1}, [%d1];"),
        NotImplemented,
        6,
        "`wmma`",
    );
    assert_refused(&body("elect.sync %r1|%p1, -1;"), UnsupportedTarget, 6, "sm_90");
    assert_refused(
        &body("add.f32.s32.u8 %f1, %f2, %f3;"),
        UnknownModifier,
        6,
        "`.s32`",
    );
}

#[test]
fn operands_are_held_against_the_type() {
    use ParseErrorKind::{Operand, UndefinedSymbol};
    assert_refused(&body("add.u32 %r1, %r2;"), Operand, 6, "2 operands where 3");
    assert_refused(&body("add.u32 %r1, %r2, %d1;"), Operand, 6, "`%d1`");
    assert_refused(&body("add.u64 %d1, %d2, %h1;"), Operand, 6, "`%h1`");
    assert_refused(&body("add.u32 %r1, %r2, %r9;"), UndefinedSymbol, 6, "`%r9`");
    assert_refused(&body("add.u32 5, %r2, %r3;"), Operand, 6, "destination");
    assert_refused(&body("add.f32 %f1, %f2, 3;"), Operand, 6, "f32");
    assert_refused(&body("bra NOWHERE;"), UndefinedSymbol, 6, "`NOWHERE`");
    assert_refused(&body("call nobody;"), UndefinedSymbol, 6, "`nobody`");
    assert_refused(
        &body("ld.global.v4.u64 {%d1,%d2,%d3,%d4}, [%d1];"),
        Operand,
        6,
        "16 bytes",
    );
    assert_refused(
        &body("st.const.u32 [%d1], %r1;"),
        ParseErrorKind::UnknownModifier,
        6,
        "not written",
    );
    assert_refused(&body("@%r1 mov.u32 %r1, 0;"), Operand, 6, "`%r1` is no predicate");
    assert_refused(
        &body("lop3.b32 %r1, %r2, %r3, %r4, 256;"),
        Operand,
        6,
        "below 256",
    );
}

#[test]
fn text_that_is_cut_off_is_refused() {
    use ParseErrorKind::{Redefinition, Syntax, TooLarge};
    assert_refused(
        &format!("{HEAD}.visible .entry k() {{\nret;\n"),
        Syntax,
        6,
        "the end of the text",
    );
    assert_refused(&format!("{HEAD}/* no end"), Syntax, 4, "comment");
    assert_refused(
        &body("mov.u32 %r1, 99999999999999999999;"),
        Syntax,
        6,
        "99999999999999999999",
    );
    assert_refused(&body("mov.u32 %r1, \u{7f};"), Syntax, 6, "0x7f");
    assert_refused(&body("A: A: ret;"), Redefinition, 6, "`A`");
    assert_refused(
        &format!("{HEAD}.global .b8 x[4]; .global .b8 x[4];"),
        Redefinition,
        4,
        "`x`",
    );
    assert_refused(&body(".shared .b8 s[1000000];"), TooLarge, 4, "shared");
    assert_refused(
        &format!("{HEAD}.global .b8 x[99999999999999];"),
        TooLarge,
        4,
        "`x`",
    );
    assert_refused(
        &format!("{HEAD}.address_size 32"),
        ParseErrorKind::NotImplemented,
        4,
        "64 bits",
    );
}

#[test]
fn every_truncation_of_a_real_kernel_ends_in_an_answer() {
    let text = include_str!("kernels/calls.sm_90.ptx");
    for end in (0..text.len())
        .step_by(7)
        .filter(|&end| text.is_char_boundary(end))
    {
        let _answer = Module::parse(&text[..end], DEVICE);
    }
}

#[test]
fn variables_are_laid_out_and_initialised() {
    let text = format!(
        "{HEAD}.global .align 8 .u64 pointer = table+4;\n.const .f32 table[3] = {{1.5, 0f40000000}};\n.global .b8 zero[5];\n.visible .entry k(.param .u8 a, .param .align 8 .b8 b[12], .param .u64 c) {{ ret; }}\n"
    );
    let card = support::Card::new(&text);
    let [pointer, table, zero] = card.globals[..] else {
        panic!("three variables")
    };
    assert_eq!(card.get::<u64>(pointer, 1), [table + 4]);
    assert_eq!(card.get::<f32>(table, 3), [1.5, 2.0, 0.0]);
    assert_eq!(card.get::<u8>(zero, 5), [0; 5]);
    let kernel = card.module.kernel("k").expect("the kernel");
    let places: Vec<_> = kernel
        .parameters()
        .iter()
        .map(|parameter| (parameter.offset, parameter.size))
        .collect();
    assert_eq!(
        (places, kernel.parameter_bytes()),
        (vec![(0, 1), (8, 12), (24, 8)], 32)
    );
}

/// Words that PTX is made of, so that random texts get beyond the first token.
const WORDS: &[&str] = &[
    "add",
    ".u32",
    ".f32",
    ".b64",
    "%r1",
    "%d1",
    "%p1",
    "%f1",
    ",",
    ";",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "@",
    "!",
    "|",
    "+",
    "-",
    "=",
    ":",
    "<",
    ">",
    ".reg",
    ".shared",
    ".local",
    ".param",
    ".global",
    ".const",
    ".align",
    "mov",
    "ld",
    "st",
    "bra",
    "L",
    "ret",
    "call",
    "mma",
    "cvt",
    ".rn",
    ".sync",
    ".aligned",
    ".m16n8k32",
    "setp",
    ".eq",
    "shfl",
    "bar",
    "0",
    "1",
    "0xffffffffffffffff",
    "0f3F800000",
    "1.5",
    ".entry",
    ".func",
    "k",
    "f",
    ".branchtargets",
    "brx",
    ".idx",
    ".v4",
    "cp",
    ".async",
    "atom",
    "\n",
    ".loc",
    ".section",
    "%tid",
    ".x",
    "tile",
    "4",
    "32",
    "prmt",
    "lop3",
    "dp4a",
    ".s32",
    "bfe",
    ".pred",
    "99999999",
    ".pragma",
    "\"x\"",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![8 => prop::sample::select(WORDS).prop_map(str::to_owned), 1 => ".{0,6}"]
}

/// Parses, and runs the kernels of what is a module, for a bounded number of instructions: an answer, whatever it is.
fn run_all(text: &str) {
    let Ok(module) = Module::parse(text, DEVICE) else {
        return;
    };
    let memory = Memory::new(1 << 20);
    let Ok(globals) = module.place(&memory) else {
        return;
    };
    let limits = Limits {
        instructions: 10_000,
        ..Limits::of(DEVICE)
    };
    for kernel in module.kernels() {
        let parameters = vec![0; kernel.parameter_bytes()];
        let (grid, block) = ([1; 3], [33, 1, 1]);
        let launch = Launch {
            module: &module,
            kernel,
            globals: &globals,
            grid,
            block,
            shared_bytes: 0,
            parameters: &parameters,
            watched: None,
        };
        let _outcome = run(&launch, &memory, &limits, 1);
    }
}

/// Whole instructions, some of them wrong, so that random bodies run.
const INSTRUCTIONS: &[&str] = &[
    "add.u32 %r1, %r2, 3",
    "mov.u32 %r2, %tid.x",
    "mov.u64 %d1, 0x780000000000",
    "ld.u32 %r1, [%d1]",
    "st.shared.u8 [%r2], %r1",
    "setp.lt.s32 %p1, %r2, 7",
    "@%p1 bra L1",
    "L1: mov.u32 %r3, 1",
    "L2: add.u32 %r4, %r3, %r2",
    "@!%p1 bra L2",
    "bar.sync 0",
    "bar.sync 1, 64",
    "barrier.arrive 1, 64",
    "bar.warp.sync -1",
    "shfl.sync.bfly.b32 %r1, %r2, 1, 31, -1",
    "@%p1 exit",
    "ret",
    "vote.sync.ballot.b32 %r3, %p1, 0x3ff",
    "st.shared.v2.u32 [0], {%r2, %r3}",
    "ld.shared.u64 %d1, [8]",
    "cvta.shared.u64 %d2, %d1",
    "atom.shared.cas.b32 %r1, [0], %r2, 5",
    "div.s32 %r1, %r2, 0",
    "cvt.rni.u8.f32 %r1, 0fFF800000",
    "shl.b32 %r1, %r2, 99",
    "bfe.s32 %r1, %r2, 255, 255",
    "bfi.b64 %d1, %d2, 9, 200, 255",
    "mov.b64 {%r1, %r2}, %d1",
    "cp.async.ca.shared.global [0], [%d1], 16",
    "cp.async.commit_group",
    "cp.async.wait_group 0",
    "fma.rz.f32 %f1, 0f7F7FFFFF, 0f7F7FFFFF, 0f00000001",
    "sqrt.rm.f32 %f1, 0f00000001",
    "T: .branchtargets L1, L2",
    "brx.idx %r2, T",
    "mov.u64 %d2, -1",
    "ld.global.v4.u32 {%r1,%r2,%r3,%r4}, [%d2]",
    "trap",
    "match.any.sync.b32 %r1, %r2, -1",
    "ex2.approx.f32 %f1, 0f7F800000",
    "prmt.b32 %r1, %r2, %r3, 0xffff",
    "activemask.b32 %r1",
    "bmsk.clamp.b32 %r1, 77, 99",
    "fns.b32 %r1, %r2, 40, -3",
    "mad.lo.cc.u32 %r1, %r2, %r3, 1",
    "madc.hi.s32 %r1, %r2, %r3, 0",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_text_gives_a_module_or_an_error(text in ".{0,300}") {
        let _answer = Module::parse(&text, DEVICE);
    }

    #[test]
    fn any_words_give_a_module_or_an_error(words in prop::collection::vec(word(), 0..60), inside in any::<bool>()) {
        let text = words.join(" ");
        let text = if inside { body(&text) } else { format!("{HEAD}{text}") };
        run_all(&text);
    }

    #[test]
    fn any_instructions_end_in_an_answer(picked in prop::collection::vec(prop::sample::select(INSTRUCTIONS), 0..40)) {
        run_all(&body(&format!(".shared .align 16 .b8 tile[64];\n{};", picked.join(";\n"))));
    }

    #[test]
    fn any_change_to_a_real_kernel_gives_a_module_or_an_error(at in 0_usize..4_000, length in 0_usize..20, put in ".{0,8}") {
        let text = include_str!("kernels/gemm.sm_80.ptx");
        let start = at.min(text.len());
        let end = (start + length).min(text.len());
        if text.is_char_boundary(start) && text.is_char_boundary(end) {
            let _answer = Module::parse(&format!("{}{put}{}", &text[..start], &text[end..]), DEVICE);
        }
    }
}
