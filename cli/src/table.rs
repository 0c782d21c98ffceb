//! Aligned columns.

use std::fmt::Write as _;

/// Between two columns, as kubectl prints them.
const GAP: usize = 3;
/// Between two columns where room is scarce.
const NARROW_GAP: usize = 2;
/// No column is made narrower than this.
const LEAST: usize = 6;

/// Rows of text under a heading.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()],
        }
    }

    /// Adds a row; an empty cell is shown as `-`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// The table on lines of at most so many columns: the widest cells are cut, and end with `…`.
    pub fn within(&self, width: usize) -> String {
        let mut widths = self.widths();
        let gaps = NARROW_GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width {
            let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > LEAST) else {
                break;
            };
            *widest -= 1;
        }
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let cut = cell.chars().count() > *width;
                let kept: String = cell.chars().take(if cut { *width - 1 } else { *width }).collect();
                format!("{:width$}", if cut { kept + "…" } else { kept })
            });
            let line = cells.collect::<Vec<_>>().join(&" ".repeat(NARROW_GAP));
            writeln!(text, "{}", line.trim_end()).expect("a String takes all text");
        }
        text
    }

    /// The widest cell of each column.
    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        };
        (0..columns).map(width).collect()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:width$}", width = width + GAP).expect("a String takes all text");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_within_a_width_cuts_its_widest_cells() {
        let mut table = Table::new(&["NAME", "WHY"]);
        table.row(["a".to_owned(), "a very long reason indeed".to_owned()]);
        assert_eq!(table.within(40), "NAME  WHY\na     a very long reason indeed\n");
        assert_eq!(table.within(20), "NAME  WHY\na     a very long r…\n");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "TON"]);
        table.row(["a-long-name".to_owned(), "1".to_owned()]);
        table.row(["ä".to_owned(), String::new()]);
        assert_eq!(
            table.to_string(),
            "NAME          TON\na-long-name   1\nä             -\n"
        );
    }
}
