//! Lines `NAME=VALUE`, as in `.env` files. Nothing is evaluated: `$` and backquotes stand for
//! themselves.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::entry::{FileProblem, Found};
use crate::secret::Wiped;

/// Reads the whole file.
pub(crate) fn parse(text: &str) -> Result<Vec<Found>, FileProblem> {
    let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let mut found = Vec::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut problems = Vec::new();
    loop {
        let named = match reader.name() {
            Ok(None) => break,
            Ok(Some(named)) => named,
            Err(problem) => {
                problems.push(problem);
                reader.end_line();
                continue;
            }
        };
        let (line, name) = named;
        match (reader.value(), name) {
            (Ok(value), Ok(name)) => match lines.get(&name) {
                Some(&first) => {
                    problems.push(FileProblem::Repeated { line, first, source_name: name });
                }
                None => {
                    lines.insert(name.clone(), line);
                    found.push(Found { source: name, value });
                }
            },
            (Ok(_), Err(issue)) => problems.push(FileProblem::Line { line, issue }),
            (Err(problem), _) => {
                // What a quote has taken that is never closed is no line to read on from.
                let ends = matches!(problem, FileProblem::Line { issue: UNCLOSED, .. });
                problems.push(problem);
                if ends {
                    break;
                }
                reader.end_line();
            }
        }
    }
    FileProblem::all(problems).map_or(Ok(found), Err)
}

const UNCLOSED: &str = "the quote that opens here is never closed";

/// The number of a line, and its name, or what is wrong with that.
type Named = (usize, Result<String, &'static str>);

struct Reader<'a> {
    rest: &'a str,
    /// The line on which the rest begins, from 1.
    line: usize,
}

impl<'a> Reader<'a> {
    /// Skips what is empty and what is a comment, and takes a name with its `=`.
    fn name(&mut self) -> Result<Option<Named>, FileProblem> {
        loop {
            let line = self.rest.lines().next().unwrap_or_default();
            let told = line.trim();
            if told.is_empty() || told.starts_with('#') {
                if self.rest.is_empty() {
                    return Ok(None);
                }
                self.end_line();
                continue;
            }
            let (name, _) =
                line.split_once('=').ok_or_else(|| self.problem("expected NAME=VALUE"))?;
            self.advance(name.len() + 1);
            let name = name.trim();
            let name = match name.strip_prefix("export") {
                Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
                _ => name,
            };
            let is_one = !name.is_empty() && !name.contains(char::is_whitespace);
            let named = is_one.then(|| name.to_owned()).ok_or("expected one NAME before the `=`");
            return Ok(Some((self.line, named)));
        }
    }

    /// Takes a value and the end of its line.
    fn value(&mut self) -> Result<Wiped, FileProblem> {
        let blank = self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len();
        self.advance(blank);
        match self.rest.chars().next() {
            Some('\'') => self.quoted('\'', Wiped::new),
            Some('"') => self.quoted('"', unescaped),
            _ => {
                let line = self.rest.lines().next().unwrap_or_default();
                // A comment begins at a `#` that follows a blank, or that is the first.
                let comment = line.char_indices().find(|(at, character)| {
                    *character == '#'
                        && line
                            .get(..*at)
                            .is_none_or(|before| before.is_empty() || before.ends_with([' ', '\t']))
                });
                let value = comment.and_then(|(at, _)| line.get(..at)).unwrap_or(line);
                let value = Wiped::new(value.trim_end());
                self.end_line();
                Ok(value)
            }
        }
    }

    /// Takes a value between quotes, which may have many lines, and what may follow it.
    fn quoted(
        &mut self,
        quote: char,
        read: impl FnOnce(&str) -> Wiped,
    ) -> Result<Wiped, FileProblem> {
        let open = self.problem(UNCLOSED);
        self.advance(1);
        let end = closing(self.rest, quote).ok_or(open)?;
        let value = read(self.rest.get(..end).unwrap_or_default());
        self.advance(end + 1);
        let after = self.rest.lines().next().unwrap_or_default().trim();
        if !after.is_empty() && !after.starts_with('#') {
            return Err(self.problem("expected nothing but a comment after the closing quote"));
        }
        self.end_line();
        Ok(value)
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += passed.matches('\n').count();
        self.rest = rest;
    }

    fn end_line(&mut self) {
        let end = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
        self.advance(end);
    }

    fn problem(&self, issue: &'static str) -> FileProblem {
        FileProblem::Line { line: self.line, issue }
    }
}

/// Where the quote closes; between double quotes a backslash protects the next character.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut protected = false;
    text.char_indices().find_map(|(at, character)| {
        let closes = character == quote && !protected;
        protected = quote == '"' && character == '\\' && !protected;
        closes.then_some(at)
    })
}

/// What stands between double quotes: `\n`, `\r`, `\t`, `\"`, `\\` and `\$` as in a shell's or a
/// dotenv file; another backslash stands for itself.
fn unescaped(text: &str) -> Wiped {
    // With this capacity the value is never moved, so no copy stays behind.
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            value.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => value.push('\n'),
            Some('r') => value.push('\r'),
            Some('t') => value.push('\t'),
            Some(itself @ ('"' | '\\' | '$' | '`')) => value.push(itself),
            Some(other) => {
                value.push('\\');
                value.push(other);
            }
            None => value.push('\\'),
        }
    }
    Wiped::from(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let found = parse(text).unwrap_or_else(|problem| panic!("{text:?}: {problem}"));
        found.into_iter().map(|found| (found.source, found.value.expose().to_owned())).collect()
    }

    fn one(line: &str) -> String {
        let mut read = read(line);
        assert_eq!(read.len(), 1, "{line:?}");
        read.remove(0).1
    }

    #[test]
    fn values_are_taken_as_people_write_them() {
        for (line, value) in [
            ("A=b", "b"),
            ("A=b\r\n", "b"),
            ("A = b ", "b"),
            ("export A=b", "b"),
            ("export\tA=b", "b"),
            ("A=", ""),
            ("A=b # comment", "b"),
            ("A=b#c", "b#c"),
            ("A=#c", ""),
            ("A=b=c==", "b=c=="),
            ("A=a b", "a b"),
            ("A='b # c'", "b # c"),
            ("A='b\\n$X`id`'  # comment", "b\\n$X`id`"),
            (r#"A="b\n\"c\" \$X \d \\""#, "b\n\"c\" $X \\d \\"),
            ("A=\"$(id) ${HOME}\"", "$(id) ${HOME}"),
            ("A=\"one\ntwo\n\"", "one\ntwo\n"),
            ("A='one\ntwo'", "one\ntwo"),
            ("A=it's", "it's"),
            ("A=\"\"", ""),
            ("exported=b", "b"),
            ("\u{feff}A=ä", "ä"),
        ] {
            assert_eq!(one(line), value, "{line:?}");
        }
    }

    #[test]
    fn names_comments_and_empty_lines_in_a_row() {
        let text = "# a\n\n  # b\nA=1\r\nexport B_2=\"x\ny\" # c\n\n\nc.d-e='z'";
        let expected = [("A", "1"), ("B_2", "x\ny"), ("c.d-e", "z")];
        assert_eq!(read(text), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(read("").is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_a_value() {
        for (text, line, words) in [
            ("A=1\nsesame\n", 2, "NAME=VALUE"),
            ("=sesame", 1, "one NAME"),
            ("A B=sesame", 1, "one NAME"),
            ("A=\"x\ny\"\nB='sesame\n\n", 3, "never closed"),
            ("A=\"sesame\\\"", 1, "never closed"),
            ("A='x\ny' sesame", 2, "after the closing quote"),
            ("A=1\nB=2\nA=sesame", 3, "on line 1 already"),
        ] {
            let problem = parse(text).err().unwrap_or_else(|| panic!("{text:?} is taken"));
            let told = problem.to_string();
            assert!(told.starts_with(&format!("line {line}: ")), "{told}");
            assert!(told.contains(words) && !told.contains("sesame"), "{told}");
        }
    }

    #[test]
    fn all_mistakes_are_told_and_nothing_of_an_open_quote() {
        let text =
            "A=1\nsesame\nA B='sesame\nX=sesame'\nB=2 \nB=3\nC='a' sesame\nD=\"sesame\nA=x\n";
        let told = parse(text).err().unwrap().to_string();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "5 mistakes", "{told}");
        for (line, begins) in lines[1..].iter().zip(["2: ", "3: ", "6: ", "7: ", "8: "]) {
            assert!(line.starts_with(&format!("  line {begins}")), "{told}");
        }
        assert!(!told.contains("sesame"), "{told}");
        let many = parse(&"x\n".repeat(12)).err().unwrap().to_string();
        assert!(many.starts_with("12 mistakes\n") && many.ends_with("\n  and 2 more"), "{many}");
    }
}
