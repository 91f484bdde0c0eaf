//! Bad values are refused, by both Helms, with words that help.

use super::cases::{refused, rendered};

#[test]
fn bad_values_are_refused_with_words_that_help() {
    let cases = refused();
    let refusals = &rendered().refusals;
    assert_eq!(refusals.len(), cases.len());
    let mut wrong = Vec::new();
    for ((values, words), said) in cases.iter().zip(refusals) {
        for (helm, said) in said {
            let Some(said) = said else {
                wrong.push(format!("{helm} takes {values}"));
                continue;
            };
            if !words.iter().all(|word| said.contains(word)) {
                wrong.push(format!("{helm} says of {values}: {said}"));
            }
            if said.contains("s3cret") {
                wrong.push(format!("{helm} repeats a secret: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
