//! Aligned text tables.

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table of text, as wide as its widest cells.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [(&'static str, Align); N]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// One line for the header and one for each row, each ending with a line break and without spaces before it.
    pub(crate) fn render(&self) -> String {
        let widths: [usize; N] = std::array::from_fn(|i| {
            let cells = self.rows.iter().map(|row| row[i].chars().count());
            cells.chain([self.columns[i].0.chars().count()]).max().unwrap_or(0)
        });
        let mut text = String::new();
        let header = self.columns.map(|(name, _)| name.to_owned());
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for (i, cell) in row.iter().enumerate() {
                let width = widths[i];
                match self.columns[i].1 {
                    Align::Left => line.push_str(&format!("  {cell:<width$}")),
                    Align::Right => line.push_str(&format!("  {cell:>width$}")),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("name", Align::Left), ("ns", Align::Right), ("note", Align::Left)]);
        table.row(["hit".into(), "1,204".into(), String::new()]);
        table.row(["a longer µs".into(), "9".into(), "slow".into()]);
        assert_eq!(
            table.render(),
            "  name            ns  note\n  hit          1,204\n  a longer µs      9  slow\n"
        );
    }

    #[test]
    fn a_table_without_rows_is_its_header() {
        assert_eq!(
            Table::new([("a", Align::Left), ("b", Align::Right)]).render(),
            "  a  b\n"
        );
    }
}
