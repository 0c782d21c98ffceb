use proptest::prelude::*;

use super::*;

const PATH: Endpoint = Endpoint::Completions;
const CANARY: &str = "canary-7f3a";

fn problem(text: &str) -> String {
    batch(text.as_bytes(), "ConfigMap in key jobs", PATH)
        .unwrap_err()
        .to_string()
}

#[test]
fn batch_lines_keep_their_names_and_order() {
    let text = "{\"custom_id\":\"b\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\"}}\n\n{\"body\":{ \"prompt\":\"y\"}}\n";
    let requests = batch(text.as_bytes(), "s", PATH).unwrap();
    assert_eq!(requests.custom_ids, ["b", "request-1"]);
    assert_eq!(
        requests.items[1].body.text(),
        "{ \"prompt\":\"y\"}",
        "byte by byte"
    );
}

#[test]
fn errors_name_the_line_and_the_field() {
    assert_eq!(problem(""), "ConfigMap in key jobs holds no request");
    assert!(problem("{\"body\":{\"prompt\":\"x\"}}\n{").starts_with("ConfigMap in key jobs line 2: "));
    assert!(problem("{\"body\":[]}").contains("must be a JSON object"));
    assert!(problem("{\"body\":{\"prompt\":\"x\"},\"url\":\"/v1/embeddings\"}").contains("`url`"));
    let twice = "{\"custom_id\":\"a\",\"body\":{\"prompt\":\"x\"}}\n".repeat(2);
    assert_eq!(
        problem(&twice),
        "ConfigMap in key jobs line 2: its `custom_id` is that of request 0 as well"
    );
    let broken = batch(b"{\"body\":{}}\n{\"custom_id\":\"\xff\"}", "s", PATH).unwrap_err();
    assert_eq!(
        broken.to_string(),
        "s line 2: it is no UTF-8 text (line 2, column 15)"
    );
}

#[test]
fn a_line_is_refused_with_its_field() {
    for (line, words) in [
        ("{\"messages\":[]}", "`body` is missing"),
        ("{\"custom_id\":\"a\",\"body\":null}", "`body` is missing"),
        ("{\"id\":\"a\",\"body\":{}}", "a field beside"),
        ("{\"custom_id\":7,\"body\":{}}", "`custom_id` must be a text"),
        ("{\"custom_id\":\"\",\"body\":{}}", "`custom_id` must be a text"),
        (
            "{\"custom_id\":\"\\ud800\",\"body\":{}}",
            "`custom_id` must be a text",
        ),
        ("{\"method\":\"GET\",\"body\":{}}", "`method` must be POST"),
        ("{\"method\":1,\"body\":{}}", "`method` must be POST"),
        ("{\"url\":[],\"body\":{}}", "`url` must be the job's endpoint"),
        ("{\"body\":{},\"body\":{}}", "a field twice"),
        (
            "{\"url\":\"/v1/completions\",\"url\":null,\"body\":{}}",
            "a field twice",
        ),
        ("[{\"body\":{}}]", "must be a JSON object with"),
        ("\"text\"", "must be a JSON object with"),
        ("{\"body\":{}} {\"body\":{}}", "is no JSON (line 2, column 13)"),
        (
            "{\"body\":{\"prompt\":\"\\ud83d\"}}",
            "the body cannot be read at its byte",
        ),
        (
            "{\"body\":{\"seed\":1e999}}",
            "the body cannot be read at its byte",
        ),
    ] {
        let refused = problem(&format!("{{\"body\":{{}}}}\n{line}"));
        assert!(
            refused.starts_with("ConfigMap in key jobs line 2: ") && refused.contains(words),
            "{refused}"
        );
    }
}

#[test]
fn null_equals_absent_on_every_line() {
    let plain = batch(b"{\"body\":{}}", "s", PATH).unwrap();
    let nulls = b"{\"custom_id\":null,\"method\":null,\"url\":null,\"metadata\":null,\"body\":{}}";
    assert_eq!(batch(nulls, "s", PATH), Ok(plain));
    // Names are the user's own, whatever is in them.
    let named = "{\"custom_id\":\" \",\"body\":{}}\n{\"custom_id\":\"\\u0000\",\"body\":{}}\n\
                 {\"custom_id\":\"\u{e9}\",\"body\":{}}\n{\"custom_id\":\"e\u{301}\",\"body\":{}}\n\
                 {\"\\u0063ustom_id\":\"a\",\"body\":{}}";
    let named = batch(named.as_bytes(), "s", PATH).unwrap();
    assert_eq!(named.custom_ids, [" ", "\0", "\u{e9}", "e\u{301}", "a"]);
}

#[test]
fn no_error_repeats_a_byte_of_the_input() {
    let lines = [
        CANARY.to_owned(),
        format!("{{\"{CANARY}\": 1, \"body\": {{}}}}"),
        format!("{{\"body\": \"{CANARY}\"}}"),
        format!("{{\"body\": [\"{CANARY}\"]}}"),
        format!("{{\"body\": {{\"prompt\": \"{CANARY}\"}}"),
        format!("{{\"body\": {{}}, \"method\": \"{CANARY}\"}}"),
        format!("{{\"body\": {{}}, \"method\": {{\"{CANARY}\": 1}}}}"),
        format!("{{\"body\": {{}}, \"url\": \"{CANARY}\"}}"),
        format!("{{\"body\": {{}}, \"custom_id\": \"{}\"}}", CANARY.repeat(100)),
        format!("{{\"body\": {{}}, \"custom_id\": 7{CANARY}}}"),
        format!(
            "{{\"body\": {{}}, \"custom_id\": \"{CANARY}\"}}\n{{\"body\": {{}}, \"custom_id\": \"{CANARY}\"}}"
        ),
        format!(
            "{{\"body\": {{\"prompt\": \"{}\"}}}}",
            CANARY.repeat(MAX_INPUT_BYTES / CANARY.len() + 1)
        ),
        format!("{{\"body\": {{\"prompt\": \"{CANARY}\"}}}}\n").repeat(MAX_REQUESTS + 1),
    ];
    for text in lines {
        let error = batch(text.as_bytes(), "s", PATH).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
    }
}

#[test]
fn generated_names_give_way_to_given_ones() {
    let text = "{\"body\":{}}\n{\"body\":{}}\n{\"custom_id\":\"request-0\",\"body\":{}}\n\
                {\"custom_id\":\"request-0-2\",\"body\":{}}\n{\"custom_id\":\"request-1-2\",\"body\":{}}";
    let names = batch(text.as_bytes(), "s", PATH).unwrap().custom_ids;
    assert_eq!(
        names,
        [
            "request-0-3",
            "request-1",
            "request-0",
            "request-0-2",
            "request-1-2"
        ]
    );
}

/// The text, as UTF-16 with or without a byte order mark.
fn utf16(text: &str, mark: bool, swap: bool) -> Vec<u8> {
    let mark = mark.then_some(0xFEFF);
    let units = mark.into_iter().chain(text.encode_utf16());
    units
        .flat_map(|unit| {
            if swap {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        })
        .collect()
}

fn utf32(text: &str, bytes: fn(u32) -> [u8; 4]) -> Vec<u8> {
    text.chars()
        .flat_map(|character| bytes(u32::from(character)))
        .collect()
}

#[test]
fn a_byte_order_mark_and_every_kind_of_line_end_are_read() {
    let line = "{\"body\":{\"prompt\":\"x\"}}";
    let plain = batch(format!("{line}\n{line}").as_bytes(), "s", PATH).unwrap();
    for text in [
        format!("\u{feff}{line}\n{line}\n"),
        format!("{line}\r\n{line}\r\n"),
        format!("{line}\r{line}\r"),
        format!("\u{feff}{line}\r\r{line}"),
        format!("{line}\r{line}\n"),
        format!("\r\n{line}\n\r{line}\r\n"),
        format!("\u{feff}{line}\n\u{feff}{line}\n\u{feff}"),
        format!("\u{feff}\u{feff}{line}\r\n \u{c}\t\n{line}"),
    ] {
        assert_eq!(batch(text.as_bytes(), "s", PATH), Ok(plain.clone()), "{text:?}");
    }
    let faulty = batch(format!("{line}\r{{\r").as_bytes(), "s", PATH).unwrap_err();
    assert!(faulty.to_string().starts_with("s line 2: "), "{faulty}");
    let mixed = batch(format!("{line}\r\n\r{{\n").as_bytes(), "s", PATH).unwrap_err();
    assert!(mixed.to_string().starts_with("s line 3: "), "{mixed}");
    // Characters that some editors show as ends of lines are text, as JSON has it.
    let within = "{\"body\":{\"prompt\":\"a\u{2028}b\u{85}c\"}}";
    let read = batch(within.as_bytes(), "s", PATH).unwrap();
    assert_eq!(read.items[0].body.text(), "{\"prompt\":\"a\u{2028}b\u{85}c\"}");
}

#[test]
fn bytes_that_are_no_utf8_are_refused_by_name_and_never_altered() {
    let line = "{\"body\":{\"prompt\":\"Café\"}}";
    let latin1: Vec<u8> = line
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect();
    let cases = [
        (utf16(line, true, false), "is UTF-16 text: save it as UTF-8 text"),
        (utf16(line, true, true), "is UTF-16 text: save it as UTF-8 text"),
        (utf16(line, false, false), "is UTF-16 text: save it as UTF-8 text"),
        (utf16(line, false, true), "is UTF-16 text: save it as UTF-8 text"),
        ([&[0xFF, 0xFE, 0, 0], line.as_bytes()].concat(), "is UTF-32 text"),
        (utf32(line, u32::to_le_bytes), "is UTF-32 text"),
        (utf32(line, u32::to_be_bytes), "is UTF-32 text"),
        (
            utf32(&format!("\u{feff}{line}"), u32::to_be_bytes),
            "is UTF-32 text",
        ),
        (
            [line.as_bytes(), b"\n", &utf16(line, true, false)].concat(),
            "holds NUL bytes (the first one in line 2)",
        ),
        (
            [line.as_bytes(), b"\n\xff\xfe"].concat(),
            "line 2: it is no UTF-8 text",
        ),
        (
            [line.as_bytes(), b"\r\n\r\0"].concat(),
            "holds NUL bytes (the first one in line 3)",
        ),
        (vec![0], "holds NUL bytes (the first one in line 1)"),
        (
            vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3],
            "is compressed (gzip): save it as UTF-8 text",
        ),
        (vec![0x28, 0xB5, 0x2F, 0xFD, 4], "is compressed (zstd)"),
        (
            b"{\"body\":{\"prompt\":\"\xc0\xaf\"}}".to_vec(),
            "it is no UTF-8 text",
        ),
        (
            b"{\"body\":{\"prompt\":\"\xed\xa0\xbd\"}}".to_vec(),
            "it is no UTF-8 text",
        ),
        (
            [line.as_bytes(), b"\n\0\0"].concat(),
            "holds NUL bytes (the first one in line 2)",
        ),
        (latin1, "line 1: it is no UTF-8 text (line 1, column 23)"),
        (
            [&[0xEF, 0xBB, 0xBF], &b"\xff"[..]].concat(),
            "line 1: it is no UTF-8 text",
        ),
    ];
    for (bytes, words) in cases {
        let refused = batch(&bytes, "Secret in key jobs", PATH).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn limits_are_named() {
    let many = "{\"body\":{\"prompt\":\"x\"}}\n".repeat(MAX_REQUESTS + 1);
    assert!(problem(&many).contains("more than 256 requests"));
    assert!(problem(&" ".repeat(MAX_INPUT_BYTES + 1)).contains("bytes, more than"));
}

#[test]
fn inline_bodies_are_limited_before_they_are_taken() {
    // 256 bodies of numbers: 1.25 MiB for the API server, and 45 MB as values in memory.
    let numbers = format!("{{\"a\":[{}1]}}", "1,".repeat(2_500));
    let bodies: Vec<Payload> = (0..256).map(|_| Payload::new(numbers.clone()).unwrap()).collect();
    assert!(matches!(inline(bodies), Err(InputError::TooLarge { .. })));
    let small = vec![Payload::new("{}".into()).unwrap(); 2];
    assert_eq!(inline(small).unwrap().summary().total, 2);
    assert!(matches!(inline(Vec::new()), Err(InputError::Empty { .. })));
}

#[test]
fn the_digest_covers_every_name_and_byte() {
    let digest = |text: &str| batch(text.as_bytes(), "s", PATH).unwrap().digest;
    let one = digest("{\"body\":{\"prompt\":\"x\"}}");
    assert_ne!(one, digest("{\"body\":{\"prompt\":\"z\"}}"));
    assert_ne!(one, digest("{\"body\":{\"prompt\": \"x\"}}"));
    assert_ne!(one, digest("{\"custom_id\":\"a\",\"body\":{\"prompt\":\"x\"}}"));
    assert_eq!(one, digest("{\"body\":{\"prompt\":\"x\"}, \"method\":\"POST\"}"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, text in "\\PC{0,300}") {
        let _ = batch(&bytes, "s", PATH);
        let _ = batch(text.as_bytes(), "s", PATH);
    }

    #[test]
    fn a_line_cut_anywhere_says_nothing_of_what_it_holds(cut in 0usize..80) {
        let line = format!("{{\"custom_id\":\"{CANARY}\",\"body\":{{\"prompt\":\"{CANARY}{CANARY}\"}}}}");
        let cut = cut.min(line.len() - 1);
        if let Err(error) = batch(&line.as_bytes()[..cut], "s", PATH) {
            let words = format!("{error:?} {error}");
            prop_assert!(!words.contains("canary"));
        }
    }
}
