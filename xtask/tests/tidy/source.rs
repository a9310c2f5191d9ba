//! Rust text with comments and literals blanked, so that plain searches see code alone.

/// One Rust file.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
    /// The text with comments, strings and characters replaced by spaces; lines stay where they are.
    pub(crate) code: String,
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a str, text: &'a str) -> Self {
        Self {
            path,
            text,
            code: blank(text),
        }
    }

    /// Whether the whole file is test code, as far as its path says.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        let within = parts.any(|part| part == "tests" || part == "tests.rs");
        within || self.path.starts_with("conformance/")
    }

    /// Files of the modules that are declared behind `#[cfg(test)]`.
    pub(crate) fn test_modules(&self) -> Vec<String> {
        let (directory, file) = self.path.rsplit_once('/').unwrap_or(("", self.path));
        let below = match file {
            "lib.rs" | "main.rs" | "mod.rs" => directory,
            _ => self.path.trim_end_matches(".rs"),
        };
        let after = self.code.split("#[cfg(test)]").skip(1);
        let names =
            after.filter_map(|item| item.trim_start().strip_prefix("mod ")?.split_once(';'));
        names
            .map(|(name, _)| format!("{below}/{}.rs", name.trim()))
            .collect()
    }

    /// The code without `#[cfg(test)]` items.
    pub(crate) fn product_code(&self) -> String {
        let mut code = self.code.clone();
        while let Some(start) = code.find("#[cfg(test)]") {
            let end = item_end(&code, start);
            let blanked: String = code[start..end]
                .chars()
                .map(|one| if one == '\n' { '\n' } else { ' ' })
                .collect();
            code.replace_range(start..end, &blanked);
        }
        code
    }
}

/// Where the item that begins at `start` ends: after its braces, or after its semicolon if that comes first.
pub(crate) fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, one) in code[start..].char_indices() {
        match one {
            '{' => depth += 1,
            '}' if depth <= 1 => return start + offset + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return start + offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// Lines of the line-start numbered from 1 on which `needle` stands.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(text, at);
        if end > at {
            code.extend(
                text[at..end]
                    .bytes()
                    .map(|byte| if byte == b'\n' { '\n' } else { ' ' }),
            );
            at = end;
        } else {
            let one = text[at..].chars().next().expect("within the text");
            code.push(one);
            at += one.len_utf8();
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none does.
fn literal_end(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let after_word = text[..at].ends_with(|one: char| one.is_alphanumeric() || one == '_');
    if rest.starts_with("//") {
        return at + rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return at + block_comment(rest);
    }
    if rest.starts_with('"') {
        return at + quoted(rest, 1);
    }
    if after_word {
        return at;
    }
    for prefix in ["b\"", "c\""] {
        if rest.starts_with(prefix) {
            return at + quoted(rest, prefix.len());
        }
    }
    if let Some(length) = raw_string(rest) {
        return at + length;
    }
    at + character(rest)
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted(rest: &str, opening: usize) -> usize {
    let bytes = rest.as_bytes();
    let mut at = opening;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let after = ["r", "br", "cr"].iter().find_map(|prefix| {
        let after = rest.strip_prefix(prefix)?;
        after.starts_with(['"', '#']).then_some(after)
    })?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&closing)?;
    Some(rest.len() - body.len() + end + closing.len())
}

/// A character literal's length, 0 for a lifetime or anything else.
fn character(rest: &str) -> usize {
    let Some(body) = rest.strip_prefix('\'').or_else(|| rest.strip_prefix("b'")) else {
        return 0;
    };
    let opening = rest.len() - body.len();
    let mut characters = body.char_indices();
    match characters.next() {
        Some((_, '\\')) => {
            // The escaped character may itself be a quote.
            let from = characters.nth(1).map_or(body.len(), |(offset, _)| offset);
            body[from..]
                .find('\'')
                .map_or(0, |end| opening + from + end + 1)
        }
        Some((_, one)) if one != '\'' => {
            let end = one.len_utf8();
            if body[end..].starts_with('\'') {
                opening + end + 1
            } else {
                0
            }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_blanked() {
        for (text, code) in [
            ("a /* b /* c */ d */ e", "a                   e"),
            ("a // b\nc", "a     \nc"),
            (r#"x("{\"", y)"#, "x(     , y)"),
            (r###"x(r#"{""#)"###, "x(       )"),
            ("f('{', '\\'', 'a, b)", "f(   ,     , 'a, b)"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("b'{' b\"{\" br\"{\"", "               "),
        ] {
            assert_eq!(blank(text), code, "{text}");
        }
    }

    #[test]
    fn test_modules_are_known_by_their_declaration() {
        let source = Source::new("a/src/lib.rs", "#[cfg(test)]\nmod cases;\nmod plan;\n");
        assert_eq!(source.test_modules(), ["a/src/cases.rs"]);
    }

    #[test]
    fn test_items_are_no_product_code() {
        let source = Source::new(
            "a.rs",
            "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}",
        );
        let code = source.product_code();
        assert!(
            code.contains("fn a") && code.contains("fn c") && !code.contains("fn b"),
            "{code}"
        );
    }
}
