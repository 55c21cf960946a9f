//! Tables: aligned on a terminal, tabs elsewhere.

use std::io;

use super::{Cell, Column, Out, Paint, Style};

pub(super) fn write(
    columns: &[Column],
    rows: &[Vec<Cell>],
    style: &Style,
    out: &mut Out<'_>,
) -> io::Result<()> {
    let texts: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| cell.in_table(style)).collect()).collect();
    let Some(terminal) = style.terminal else {
        for row in texts {
            out((row.join("\t") + "\n").as_bytes())?;
        }
        return Ok(());
    };
    if rows.is_empty() {
        return Ok(());
    }
    let widths = widths(columns, &texts, terminal);
    let heads: Vec<String> = columns.iter().map(|column| column.head.to_owned()).collect();
    out(line(&heads, &widths, |_, text| style.paint(Paint::Head, &text)).as_bytes())?;
    for (row, text) in rows.iter().zip(&texts) {
        let paint = |index: usize, text: String| {
            let paint = row.get(index).and_then(|cell| cell.paint(style.now));
            paint.map_or(text.clone(), |paint| style.paint(paint, &text))
        };
        out(line(text, &widths, paint).as_bytes())?;
    }
    Ok(())
}

/// One line of a table; what does not fit ends in `…`.
fn line(cells: &[String], widths: &[usize], paint: impl Fn(usize, String) -> String) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let len = cell.chars().count();
        let shown = if len > *width {
            cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        } else {
            cell.clone()
        };
        let last = index + 1 == cells.len();
        let padding = if last { 0 } else { width.saturating_sub(len) + 2 };
        line.push_str(&paint(index, shown));
        line.push_str(&" ".repeat(padding));
    }
    line.truncate(line.trim_end_matches(' ').len());
    line.push('\n');
    line
}

/// Each column's width: its widest cell's, but for what must be cut of those that may be, the
/// widest first. Ids are never cut; then the terminal wraps the line.
fn widths(columns: &[Column], rows: &[Vec<String>], terminal: usize) -> Vec<usize> {
    const CUT_MIN: usize = 8;
    let widest = |(index, column): (usize, &Column)| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        cells.chain([column.head.len()]).max().unwrap_or_default()
    };
    let mut widths: Vec<usize> = columns.iter().enumerate().map(widest).collect();
    loop {
        let total = widths.iter().sum::<usize>() + 2 * columns.len().saturating_sub(1);
        let candidates = widths.iter_mut().zip(columns);
        let widest = candidates
            .filter(|(width, column)| column.cut && **width > CUT_MIN.max(column.head.len()))
            .map(|(width, _)| width)
            .max();
        match widest {
            Some(width) if total > terminal => *width -= 1,
            _ => return widths,
        }
    }
}
