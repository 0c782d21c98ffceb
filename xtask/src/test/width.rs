//! Prose that is wider than a screen: comments of Rust and Go, and the text of Markdown. Formatters leave both as they
//! are.

/// Columns of a line at most.
const COLUMNS: usize = 120;

/// Findings in one file.
pub(super) fn wide(path: &str, text: &str, ending: &str) -> Vec<String> {
    let is_markdown = ending == "md";
    if !is_markdown && !["rs", "go"].contains(&ending) {
        return Vec::new();
    }
    let mut is_code = false;
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = line.trim_start();
        if is_markdown && words.starts_with("```") {
            is_code = !is_code;
        }
        let prose = if is_markdown {
            (!is_code).then_some(words)
        } else {
            words
                .strip_prefix("//")
                .map(|comment| comment.trim_start_matches(['/', '!']).trim_start())
        };
        if line.chars().count() > COLUMNS && prose.is_some_and(is_breakable) {
            findings.push(format!("{path}:{}: has more than {COLUMNS} columns", number + 1));
        }
    }
    findings
}

/// Whether a line may go on in the next one: a table's row, an image, what is laid out in columns, and a link or a
/// command that is alone in its line may not.
fn is_breakable(prose: &str) -> bool {
    !prose.starts_with(['|', '<', '[', '`']) && prose.contains(' ') && !prose.trim_end().contains("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_comments_and_text_are_found_and_what_cannot_be_broken_is_not() {
        let wide_words = "word ".repeat(25);
        let wide_words = wide_words.trim_end();
        assert_eq!(wide("a.rs", &format!("    /// {wide_words}\n"), "rs").len(), 1);
        assert_eq!(
            wide("a.md", &format!("# Title\n\n{wide_words}\n"), "md"),
            ["a.md:3: has more than 120 columns"]
        );
        for fine in [
            format!("let text = \"{wide_words}\";"),
            format!("//! | {wide_words} |"),
            format!("// GET   {wide_words}"),
            format!("// https://{}", "a".repeat(120)),
        ] {
            assert!(wide("a.rs", &fine, "rs").is_empty(), "{fine}");
        }
        assert!(wide("a.md", &format!("```\n{wide_words}\n```\n"), "md").is_empty());
        assert!(wide("a.yaml", &format!("# {wide_words}\n"), "yaml").is_empty());
    }
}
