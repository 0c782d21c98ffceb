//! Templates as files have them, and what they are shown.

use super::*;

/// Templates, and what they make of two messages of a user's, `Hi` and `you`.
const IN_THE_WILD: &[(&str, &str)] = &[
    (
        "{% for m in messages %}{{ m.content }}{% break %}{% endfor %}",
        "Hi",
    ),
    (
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
        "you",
    ),
    ("a {%- generation -%} b {%- endgeneration %} c", "ab c"),
    ("{% generation %}\nb{% endgeneration %}\nc", "bc"),
    (
        "{{ messages[0] | tojson }}",
        "{\"role\": \"user\", \"content\": \"Hi\"}",
    ),
    (
        "{{ {'a': [1, '<é>'], 'b': {}} | tojson }}",
        "{\"a\": [1, \"<é>\"], \"b\": {}}",
    ),
    (
        "{{ {'a': [1]} | tojson(indent=4) }}",
        "{\n    \"a\": [\n        1\n    ]\n}",
    ),
    ("{{ ['é'] | tojson(ensure_ascii=False) }}", "[\"é\"]"),
    (
        "{{ ['é😀'] | tojson(ensure_ascii=True) }}",
        "[\"\\u00e9\\ud83d\\ude00\"]",
    ),
    (
        "{{ {'b': 1, 'a': {'d': 2, 'c': 3}} | tojson }}",
        "{\"b\": 1, \"a\": {\"d\": 2, \"c\": 3}}",
    ),
    (
        "{{ {'b': 1, 'a': {'d': 2, 'c': 3}} | tojson(sort_keys=True) }}",
        "{\"a\": {\"c\": 3, \"d\": 2}, \"b\": 1}",
    ),
    (
        "{{ {'a': [1, 2]} | tojson(separators=(',', ':')) }}",
        "{\"a\":[1,2]}",
    ),
    ("{{ strftime_now('%Y')[:2] }}", "20"),
    ("{{ bos_token }}{{ eos_token }}", "<s></s>"),
    ("{{ messages[0].content.split('i')[0].strip() }}", "H"),
    (
        "{% if tools is not none and tools | length > 0 %}tools{% endif %}\
             {{ tools is defined and documents is none }}",
        "True",
    ),
    (
        "{{ messages[::-1][0].content }}{{ messages[1:][0].content }}{{ messages[-1].content[:1] }}",
        "youyouy",
    ),
    (
        "{% macro turn(m, end='.') -%}{{ m.role }}: {{ m.content }}{{ end }}{%- endmacro %}\
             {{ turn(messages[0]) }}{{ turn(messages[1], end='!') }}",
        "user: Hi.user: you!",
    ),
    (
        "{% set ns = namespace(n=0, all=[]) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}\
             {% set ns.all = ns.all + [m.content] %}{% endfor %}{{ ns.n }}{{ ns.all | join('+') }}",
        "2Hi+you",
    ),
    (
        "{% for m in messages %}{{ loop.previtem.content if loop.previtem is defined }}{{ loop.index0 }}\
             {{ loop.nextitem.content if loop.nextitem is defined else '$' }}{% endfor %}",
        "0youHi1$",
    ),
    (
        "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list | last }}\
             {{ messages | rejectattr('role', 'equalto', 'user') | list | length }}",
        "you0",
    ),
    (
        "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}",
        "a1b2",
    ),
    (
        "{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}",
        "a2b1",
    ),
    (
        "{{ {'a': 1}.get('a') }}{{ {'a': 1}.get('b', 'c') }}{{ {'a': 1}.keys() | join }}",
        "1ca",
    ),
    (
        "{{ 'xaxbx'.strip('x') }}|{{ ' a\n'.rstrip() }}|{{ 'a,b,c'.split(',', 1)[1] }}|{{ 'ab'.replace('a', '') }}",
        "axb| a|b,c|b",
    ),
    (
        "{{ 'abc'.startswith('ab') and 'abc'.endswith(('x', 'c')) and 'b' in 'abc' }}",
        "True",
    ),
    (
        "{% if messages[0].content is string and messages[0].content is iterable \
             and messages is sequence %}y{% endif %}",
        "y",
    ),
    ("{{ '\\x41\\u00e9\\n' }}{{ 'it\\'s' }}", "Aé\nit's"),
    (
        "{% for m in messages if m.content != 'Hi' %}{{ m.content }}{% else %}none{% endfor %}",
        "you",
    ),
    ("  {%- if true -%}  a  {%- endif -%}  b\n\n", "ab\n"),
    (
        "{% if true %}\n    {% if true %}\na{% endif %}\n\n{%+ if true %} b{% endif %}\n{% endif %}",
        "a\n b",
    ),
    (
        "{% set x %}a{% endset %}{{ x ~ 1 }}{% filter upper %}b{% endfilter %}",
        "a1B",
    ),
    (
        "{% macro wrap() %}<{{ caller('c') }}>{% endmacro %}{% call(x) wrap() %}{{ x }}{% endcall %}",
        "<c>",
    ),
    (
        "{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}{{ 'abc'.removeprefix('x') }}",
        "bcababc",
    ),
    (
        "{{ 'a.b.c'.rsplit('.', 1) | join('|') }}{{ 'a.b'.rsplit('.')[-1] }}",
        "a.b|cb",
    ),
    (
        "{{ 'a,b,c'.partition(',')[2] }}{{ 'a,b,c'.rpartition(',')[0] }}{{ 'a'.partition(',')[0] }}",
        "b,ca,ba",
    ),
    (
        "{{ 'a' is sequence }}{{ [] is sequence }}{{ {} is sequence }}{{ 1 is sequence }}",
        "TrueTrueTrueFalse",
    ),
    (
        "{% if messages[0].name is defined %}named{% else %}plain{% endif %}",
        "plain",
    ),
    ("{% if 'tool_calls' in messages[0] %}calls{% endif %}", ""),
];

#[test]
fn templates_in_the_wild_are_rendered() {
    let hi = [Message::text("user", "Hi"), Message::text("user", "you")];
    for (source, expected) in IN_THE_WILD {
        assert_eq!(rendered(source, &hi), *expected, "{source}");
    }
}

#[test]
fn the_text_of_an_exception_is_the_error_unless_it_may_repeat_a_message() {
    let hi = [Message::text("canary", "Hi")];
    let refused = |source: &str| template(source).render(&hi).expect_err("refused").to_string();
    assert_eq!(
        refused("{{ raise_exception('System role not supported') }}"),
        "the chat template refuses messages: System role not supported"
    );
    assert_eq!(
        refused(r#"{{ raise_exception('Don\'t use \"tool\"') }}"#),
        "the chat template refuses messages: Don't use \"tool\""
    );
    for source in [
        "{{ raise_exception('Unknown role ' + messages[0].role) }}",
        "{{ raise_exception(messages[0].role) }}{# canary #}",
        "{{ messages[0].content.nothing() }}",
        "{{ strftime_now('%Q%') }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    ] {
        let words = refused(source);
        assert!(
            words.starts_with("the chat template refuses messages: "),
            "{words}"
        );
        if !source.contains('#') {
            assert!(!words.contains("canary"), "{words}");
        }
    }
}

#[test]
fn a_developers_message_is_a_systems_to_a_template_that_does_not_know_it() {
    let messages = [
        Message::text("developer", "Be brief."),
        Message::text("user", "Hi"),
    ];
    // As Qwen's templates do, which pass over roles that they do not know.
    let source = "{% for m in messages %}{% if m.role in ['system', 'user'] %}\
                  {{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}";
    assert_eq!(rendered(source, &messages), "system: Be brief.\nuser: Hi\n");
    let knows =
        "{% for m in messages %}{% if m.role == 'developer' %}[{{ m.content }}]{% endif %}{% endfor %}";
    assert_eq!(rendered(knows, &messages), "[Be brief.]");
}

#[test]
fn calls_without_content_have_none_where_a_template_asks() {
    let call = serde_json::json!({"type": "function", "function": {"name": "f", "arguments": {}}});
    let messages = [
        Message {
            tool_calls: Some(vec![call]),
            ..Message::text("assistant", "")
        },
        Message::text("assistant", ""),
    ];
    // As DeepSeek's templates ask.
    for source in [
        "{% for m in messages %}{% if m['content'] is none %}\
         {{ m.tool_calls[0].function.name }}{% else %}.{% endif %}{% endfor %}",
        "{% for m in messages %}{{ '.' if m.content is not none else m.tool_calls[0].function.name }}{% endfor %}",
    ] {
        assert_eq!(rendered(source, &messages), "f.", "{source}");
    }
    assert_eq!(rendered("{{ messages[0].content | trim }}|", &messages), "|");
    // As Qwen3's asks in one place and takes a text for granted in another.
    let asks = "{{ messages[0].content if messages[0].content is not none else '' }}\
                {{ '</think>' in messages[0].content }}{{ messages[0].content.split('x') | length }}";
    assert_eq!(rendered(asks, &messages), "False1");
}

#[test]
fn arguments_of_calls_are_a_text_to_templates_that_take_no_object() {
    let call =
        serde_json::json!({"type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": "é"}}});
    let message = Message {
        tool_calls: Some(vec![call]),
        ..Message::text("assistant", "")
    };
    let rendered = |source: &str| rendered(source, std::slice::from_ref(&message));
    assert_eq!(
        rendered(
            "{% for k, v in messages[0].tool_calls[0].function.arguments | items %}{{ k }}{{ v }}{% endfor %}"
        ),
        "b1aé"
    );
    // As DeepSeek's templates write them.
    assert_eq!(
        rendered("{{ '[' + messages[0].tool_calls[0]['function']['arguments'] + ']' }}"),
        "[{\"b\":1,\"a\":\"é\"}]"
    );
    let asks = "{% if messages[0].content is none %}\
                {{ '[' + messages[0].tool_calls[0].function.arguments + ']' }}{% else %}.{% endif %}";
    assert_eq!(rendered(asks), "[{\"b\":1,\"a\":\"é\"}]");
    let refused = template("{{ raise_exception('no calls') }}").render(std::slice::from_ref(&message));
    assert!(refused.expect_err("refused").to_string().contains("no calls"));
}
