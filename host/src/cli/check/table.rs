//! Aligned columns for a terminal.

/// A head and rows in columns two spaces apart. The last column is as long as it is.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| lines().filter_map(|line| line.get(column)).map(|cell| cells(cell)).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines() {
        let mut shown = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            shown.push_str(cell);
            shown.push_str(&" ".repeat(width - cells(cell) + 2));
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}

/// Width on a terminal; Chinese characters take two cells.
fn cells(text: &str) -> usize {
    text.chars().map(|c| if c >= '\u{1100}' { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let rows = [
            vec!["a".to_owned(), "快照".to_owned(), String::new()],
            vec!["bbb".into(), "c".into(), "d e".into()],
        ];
        let expected = "X    Y     Z\na    快照\nbbb  c     d e\n";
        assert_eq!(table(&["X", "Y", "Z"], &rows), expected);
    }
}
