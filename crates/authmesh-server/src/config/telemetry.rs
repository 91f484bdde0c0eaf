//! What settings of telemetry may be.

use super::rules::{Verdict, length, printable, url};

/// The base URL of a collector.
pub(super) fn collector(text: &str) -> Verdict {
    url(text)?;
    if text.contains('?') || text.ends_with("/v1/traces") || text.ends_with("/v1/metrics") {
        return Err("has a query or a path of its own: write the base, as in \"http://otel-collector:4318\"".into());
    }
    if text.contains('@') {
        return Err("has credentials: set OTEL_EXPORTER_OTLP_HEADERS instead".into());
    }
    Ok(())
}

/// A number from 0 to 1.
pub(super) fn share(text: &str) -> Verdict {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(()),
        _ => Err("is no number from 0 to 1: write it as in \"0.1\"".into()),
    }
}

/// Text that others show.
pub(super) fn label(text: &str) -> Verdict {
    length(text, 256)?;
    printable(text)
}

/// A name and a value.
pub(super) fn attribute(text: &str) -> Verdict {
    label(text)?;
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.is_empty() => Ok(()),
        _ => Err("is no attribute: write it as in \"deployment.environment.name=prod\"".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::table;
    use super::*;

    #[test]
    fn a_collector_is_a_base_url_without_credentials() {
        table(
            collector,
            &["http://127.0.0.1:4318", "https://otel.example.com/otlp"],
            &[
                ("otel:4318", "https://"),
                ("http://otel:4318/v1/traces", "write the base"),
                ("http://otel:4318?x=1", "write the base"),
                ("ftp://otel", "https://"),
            ],
        );
    }

    #[test]
    fn a_share_is_a_number_from_0_to_1() {
        table(
            share,
            &["0", "1", "0.25", "1e-3"],
            &[
                ("1.1", "from 0 to 1"),
                ("-0.1", "from 0 to 1"),
                ("NaN", "from 0 to 1"),
                ("10 %", "from 0 to 1"),
            ],
        );
    }

    #[test]
    fn an_attribute_has_a_name_and_a_value() {
        table(
            attribute,
            &["deployment.environment.name=prod", "a=b=c"],
            &[
                ("prod", "write it as"),
                ("=prod", "write it as"),
                ("a=", "write it as"),
                (" a=b", "space"),
            ],
        );
    }
}
