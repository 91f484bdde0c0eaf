//! Text with parameters in braces: filled in, and read back.

use std::collections::BTreeMap;

/// Puts values in place of `{name}`. `None` if one has no value, or a brace stands alone.
pub(super) fn fill(template: &str, values: &BTreeMap<String, String>) -> Option<String> {
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some((literal, name, after)) = split(rest)? {
        out.push_str(literal);
        out.push_str(values.get(name)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// The names in a template. `None` if a brace stands alone.
pub(super) fn names(template: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some((_, name, after)) = split(rest)? {
        names.push(name);
        rest = after;
    }
    Some(names)
}

/// The values that, put into `template`, give `text`. A value ends where the text behind it begins for the first time, so templates
/// that are read back keep characters between two parameters that neither may hold.
pub(super) fn read(template: &str, text: &str) -> Option<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    let (mut template, mut text) = (template, text);
    while let Some((literal, name, after)) = split(template)? {
        text = text.strip_prefix(literal)?;
        let until = after.split('{').next().unwrap_or_default();
        let end = if until.is_empty() {
            text.len()
        } else {
            text.find(until)?
        };
        let value = text[..end].to_owned();
        if *values.entry(name.to_owned()).or_insert_with(|| value.clone()) != value {
            return None;
        }
        text = &text[end..];
        template = after;
    }
    (template == text).then_some(values)
}

/// The text before the first parameter, its name, and what follows. Inner `None` if there is no parameter.
#[allow(clippy::type_complexity)]
fn split(template: &str) -> Option<Option<(&str, &str, &str)>> {
    let Some((literal, rest)) = template.split_once('{') else {
        return (!template.contains('}')).then_some(None);
    };
    let (name, after) = rest.split_once('}')?;
    (!literal.contains('}') && !name.contains('{') && !name.is_empty()).then_some(Some((literal, name, after)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_is_filled_in_is_read_back() {
        for (template, pairs, text) in [
            ("https://x/{a}/v2", &[("a", "1")][..], "https://x/1/v2"),
            ("https://x/{a}", &[("a", "1")], "https://x/1"),
            ("https://{a}.x/{b}/", &[("a", "1"), ("b", "2")], "https://1.x/2/"),
            ("{a}-{a}", &[("a", "1")], "1-1"),
            ("none", &[], "none"),
        ] {
            assert_eq!(fill(template, &values(pairs)).unwrap(), text);
            assert_eq!(read(template, text).unwrap(), values(pairs));
        }
    }

    #[test]
    fn text_that_does_not_fit_is_not_read() {
        for (template, text) in [
            ("https://x/{a}/v2", "https://x/1/v1"),
            ("https://x/{a}/v2", "https://x/1/v2/"),
            ("https://x/{a}/v2", "https://y/1/v2"),
            ("https://x/{a}/v2", "https://x/1"),
            ("{a}-{a}", "1-2"),
            ("none", "other"),
        ] {
            assert_eq!(read(template, text), None, "{template} {text}");
        }
    }

    #[test]
    fn a_template_with_a_stray_brace_or_an_unknown_name_is_none() {
        for template in ["{", "}", "a{b", "a}b", "{}", "{a{b}}", "{a}}", "{b}"] {
            assert_eq!(fill(template, &values(&[("a", "1")])), None, "{template}");
        }
        assert_eq!(names("{a}/{b}"), Some(vec!["a", "b"]));
    }
}
