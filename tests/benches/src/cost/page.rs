//! The tables' place in the page.

use std::path::Path;

use crate::Failure;

const BEGIN: &str = "<!-- tables: bench cost -->\n";
const END: &str = "<!-- end of tables -->\n";

/// Puts `tables` between the page's two marks.
///
/// # Errors
/// When the page cannot be read or written, or lacks the marks.
pub fn replace_tables(path: &Path, tables: &str) -> Result<(), Failure> {
    let page =
        std::fs::read_to_string(path).map_err(|error| format!("read `{}`: {error}", path.display()))?;
    let replaced = between_marks(&page, tables).ok_or_else(|| {
        format!(
            "`{}` lacks `{}` or `{}`",
            path.display(),
            BEGIN.trim(),
            END.trim()
        )
    })?;
    Ok(std::fs::write(path, replaced)?)
}

fn between_marks(page: &str, tables: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("text\n{BEGIN}old\n{END}more\n");
        let new = between_marks(&page, "new\n").unwrap();
        assert_eq!(new, format!("text\n{BEGIN}\nnew\n\n{END}more\n"));
        assert_eq!(between_marks(&new, "new\n").unwrap(), new);
        assert!(between_marks("text", "new").is_none());
    }
}
