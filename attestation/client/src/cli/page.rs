//! What a command shows people: aligned and coloured on a terminal; elsewhere one line a row with
//! tabs between its cells, for `cut` and `awk`.

mod table;

use std::io;

use neo_secrets_attestation::time::UnixTime;
use zeroize::Zeroizing;

use crate::cli::readable;
use crate::cli::terminal::printable;

/// What a command shows people. It may hold a key or a value that is shown this once.
#[derive(Default)]
pub(crate) struct Page {
    parts: Vec<Part>,
    /// What `--quiet` leaves of it; all but the hints where nothing was said.
    essential: Option<Vec<Cell>>,
}

enum Part {
    /// Lines as they are.
    Text(String),
    /// `name  value` lines.
    Fields(Vec<(&'static str, Cell)>),
    Table(Vec<Column>, Vec<Vec<Cell>>),
    /// What to do next, or what to know; never part of what a program reads.
    Hint(String),
    /// Exactly these bytes.
    Bytes(Zeroizing<Vec<u8>>),
}

/// A column of a table.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    head: &'static str,
    /// Whether it is cut where the terminal is too narrow.
    cut: bool,
}

/// A value that is shown.
#[derive(Clone)]
pub(crate) enum Cell {
    Text(String),
    /// Text that stands out in colour.
    Painted(Paint, String),
    Time(UnixTime),
    /// A time whose second matters, in a table too.
    Stamp(UnixTime),
    /// When something ends; `None` never.
    Until(Option<UnixTime>),
    Key(Zeroizing<String>),
}

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Good,
    Warning,
    Bad,
    Head,
    Aside,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warning => "33;1",
            Self::Bad => "31;1",
            Self::Head => "1",
            Self::Aside => "2",
        }
    }

    /// The text in this colour.
    pub(crate) fn on(self, text: &str) -> String {
        format!("\x1b[{}m{text}\x1b[0m", self.code())
    }
}

/// Where a page is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// The terminal's width in columns, where it is one.
    pub(crate) terminal: Option<usize>,
    pub(crate) color: bool,
    pub(crate) quiet: bool,
    pub(crate) now: UnixTime,
}

type Out<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

impl Page {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Text(text.into()));
        self
    }

    pub(crate) fn fields(mut self, fields: Vec<(&'static str, Cell)>) -> Self {
        self.parts.push(Part::Fields(fields));
        self
    }

    pub(crate) fn table(mut self, columns: &[Column], rows: Vec<Vec<Cell>>) -> Self {
        self.parts.push(Part::Table(columns.to_vec(), rows));
        self
    }

    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        self.parts.push(Part::Hint(text.into()));
        self
    }

    pub(crate) fn bytes(mut self, bytes: Zeroizing<Vec<u8>>) -> Self {
        self.parts.push(Part::Bytes(bytes));
        self
    }

    /// What `--quiet` leaves: these, one a line.
    pub(crate) fn essential(mut self, cells: Vec<Cell>) -> Self {
        self.essential = Some(cells);
        self
    }

    /// The hints, for stderr where stdout is no terminal.
    pub(crate) fn hints(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hint(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Writes the page. A key goes out alone, and is copied nowhere.
    pub(crate) fn write(&self, style: &Style, out: &mut Out<'_>) -> io::Result<()> {
        if let (true, Some(essential)) = (style.quiet, &self.essential) {
            let plain = Style { terminal: None, color: false, ..*style };
            for cell in essential {
                cell.write(&plain, out)?;
                out(b"\n")?;
            }
            return Ok(());
        }
        for part in &self.parts {
            match part {
                Part::Text(text) => out(text.as_bytes())?,
                Part::Fields(fields) => write_fields(fields, style, out)?,
                Part::Table(columns, rows) => table::write(columns, rows, style, out)?,
                Part::Hint(text) if style.terminal.is_some() && !style.quiet => {
                    out(style.paint(Paint::Aside, text).as_bytes())?;
                    out(b"\n")?;
                }
                Part::Hint(_) => {}
                Part::Bytes(bytes) => out(bytes)?,
            }
        }
        Ok(())
    }
}

impl Style {
    fn paint(&self, paint: Paint, text: &str) -> String {
        if self.color { paint.on(text) } else { text.to_owned() }
    }
}

impl Column {
    /// A column that is shown whole, whatever the terminal's width.
    pub(crate) const fn whole(head: &'static str) -> Self {
        Self { head, cut: false }
    }

    /// A column that is cut where the terminal is too narrow.
    pub(crate) const fn cut(head: &'static str) -> Self {
        Self { head, cut: true }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Cell {
    /// As it stands in a table: times in a form that is read at a glance on a terminal, exact
    /// elsewhere.
    fn in_table(&self, style: &Style) -> String {
        match self {
            Self::Text(text) | Self::Painted(_, text) => printable(text),
            Self::Stamp(time) if style.terminal.is_some() => {
                readable::date_time(*time).trim_end_matches(" UTC").to_owned()
            }
            Self::Time(time) if style.terminal.is_some() => readable::distance(*time, style.now),
            Self::Until(Some(time)) if style.terminal.is_some() => {
                let distance = readable::distance(*time, style.now);
                if *time <= style.now { format!("expired {distance}") } else { distance }
            }
            _ => self.exact(style.now),
        }
    }

    /// As it stands alone on a line.
    fn in_line(&self, style: &Style) -> String {
        match self {
            Self::Time(time) | Self::Until(Some(time)) if style.terminal.is_some() => {
                format!("{} ({})", readable::date_time(*time), readable::distance(*time, style.now))
            }
            _ => self.exact(style.now),
        }
    }

    fn exact(&self, now: UnixTime) -> String {
        match self {
            Self::Text(text) | Self::Painted(_, text) => printable(text),
            Self::Time(time) | Self::Stamp(time) => time.to_string(),
            Self::Until(None) => "never".to_owned(),
            Self::Until(Some(time)) if *time <= now => format!("{time} (expired)"),
            Self::Until(Some(time)) => time.to_string(),
            // `write` alone shows a key.
            Self::Key(_) => String::new(),
        }
    }

    fn paint(&self, now: UnixTime) -> Option<Paint> {
        match self {
            Self::Painted(paint, _) => Some(*paint),
            Self::Until(Some(time)) if *time <= now => Some(Paint::Bad),
            _ => None,
        }
    }

    fn write(&self, style: &Style, out: &mut Out<'_>) -> io::Result<()> {
        if let Self::Key(key) = self {
            return out(key.as_bytes());
        }
        let text = self.in_line(style);
        match self.paint(style.now) {
            Some(paint) => out(style.paint(paint, &text).as_bytes()),
            None => out(text.as_bytes()),
        }
    }
}

fn write_fields(
    fields: &[(&'static str, Cell)],
    style: &Style,
    out: &mut Out<'_>,
) -> io::Result<()> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, cell) in fields {
        let head = match style.terminal {
            Some(_) => style.paint(Paint::Head, &format!("{name:width$}")) + "  ",
            None => format!("{name}\t"),
        };
        out(head.as_bytes())?;
        cell.write(style, out)?;
        out(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style(terminal: Option<usize>) -> Style {
        let now = "2026-02-11T00:00:00Z".parse().unwrap();
        Style { terminal, color: false, quiet: false, now }
    }

    fn shown(page: &Page, style: &Style) -> String {
        let mut bytes = Vec::new();
        let mut out = |part: &[u8]| {
            bytes.extend_from_slice(part);
            Ok(())
        };
        page.write(style, &mut out).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn example() -> Page {
        let time = |text: &str| text.parse().unwrap();
        let row = |id: &str, name: &str, until: &str| {
            let created = Cell::Time(time("2026-02-01T00:00:00Z"));
            vec![id.into(), name.into(), created, Cell::Until(Some(time(until)))]
        };
        let columns = [
            Column::whole("ID"),
            Column::cut("NAME"),
            Column::whole("CREATED"),
            Column::whole("EXPIRES"),
        ];
        let rows = vec![
            row("sec_1", "a-name-of-many-letters", "2026-02-10T00:00:00Z"),
            row("sec_2", "\x1b[2J\tä", "2026-03-11T00:00:00Z"),
        ];
        Page::new().table(&columns, rows).hint("1-2 of 2").essential(vec!["sec_1".into()])
    }

    #[test]
    fn a_terminal_gets_aligned_columns_cut_to_its_width_and_never_an_id() {
        assert_eq!(
            shown(&example(), &style(Some(80))),
            "ID     NAME                    CREATED      EXPIRES\n\
             sec_1  a-name-of-many-letters  10 days ago  expired 1 day ago\n\
             sec_2  \\u{1b}[2J\\tä            10 days ago  in 28 days\n\
             1-2 of 2\n"
        );
        let narrow = shown(&example(), &style(Some(50)));
        assert!(narrow.contains("sec_1  a-name-of-…  10 days ago"), "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 50), "{narrow}");
        assert!(shown(&example(), &style(Some(5))).contains("sec_1  a-name-…"));
    }

    #[test]
    fn a_pipe_gets_tabs_and_exact_times_and_no_heading_or_hint() {
        assert_eq!(
            shown(&example(), &style(None)),
            "sec_1\ta-name-of-many-letters\t2026-02-01T00:00:00Z\t2026-02-10T00:00:00Z (expired)\n\
             sec_2\t\\u{1b}[2J\\tä\t2026-02-01T00:00:00Z\t2026-03-11T00:00:00Z\n"
        );
        assert_eq!(example().hints().collect::<Vec<_>>(), ["1-2 of 2"]);
    }

    #[test]
    fn quiet_leaves_the_essential_and_color_only_adds_codes() {
        let quiet = Style { quiet: true, ..style(Some(80)) };
        assert_eq!(shown(&example(), &quiet), "sec_1\n");
        let colored = shown(&example(), &Style { color: true, ..style(Some(80)) });
        assert!(colored.contains("\x1b[31;1mexpired 1 day ago\x1b[0m"), "{colored}");
        let mut plain = colored;
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31;1m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, shown(&example(), &style(Some(80))));
    }

    #[test]
    fn fields_line_up_on_a_terminal_and_a_key_is_shown_whole() {
        let time = "2026-02-01T00:00:00Z".parse().unwrap();
        let key = Cell::Key(Zeroizing::new("neo_k".to_owned()));
        let page = Page::new().fields(vec![
            ("id", "key_1".into()),
            ("expires", Cell::Until(None)),
            ("created", Cell::Time(time)),
            ("key", key),
        ]);
        assert_eq!(
            shown(&page, &style(Some(80))),
            "id       key_1\nexpires  never\ncreated  2026-02-01 00:00:00 UTC (10 days ago)\n\
             key      neo_k\n"
        );
        assert_eq!(
            shown(&page, &style(None)),
            "id\tkey_1\nexpires\tnever\ncreated\t2026-02-01T00:00:00Z\nkey\tneo_k\n"
        );
    }
}
