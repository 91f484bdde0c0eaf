#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::client::HttpClient;

const TABLE: &str = include_str!("../../../../docs/presets.md");

fn with_examples(name: &str) -> Preset {
    let preset = Preset::named(name).unwrap();
    let examples: Vec<_> = preset
        .parameters()
        .map(|parameter| (parameter.name.to_owned(), parameter.example.to_owned()))
        .collect();
    examples
        .into_iter()
        .fold(preset, |preset, (name, value)| preset.with(&name, value).unwrap())
}

#[test]
fn every_data_file_is_whole_and_its_examples_build() {
    for name in names() {
        let preset = with_examples(name).audience("api");
        let provider = preset.build().unwrap();
        assert!(provider.issuer.starts_with("https://"), "{name}");
        assert!(provider.key_source(&HttpClient::new().unwrap()).is_ok(), "{name}");
        assert!(
            preset.docs().len() > 0 && preset.docs().all(|url| url.starts_with("https://")),
            "{name}"
        );
        assert!(!preset.why().is_empty() && !preset.audience_is().is_empty(), "{name}");
        assert_eq!(provider.rules.audiences(), Some(&["api".to_owned()][..]), "{name}");
    }
}

#[test]
fn the_table_in_the_docs_names_every_preset_its_parameters_and_its_issuer() {
    for name in names() {
        let preset = Preset::named(name).unwrap();
        let row = TABLE
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")))
            .unwrap_or_else(|| panic!("{name} is not in docs/presets.md"));
        assert!(
            row.contains(&format!("`{}`", preset.issuer_template())),
            "{name}: {row}"
        );
        for parameter in preset.parameters() {
            assert!(
                row.contains(&format!("`{}`", parameter.name)),
                "{name}: {}",
                parameter.name
            );
        }
        for claim in preset
            .data
            .tokens
            .required
            .iter()
            .chain(preset.data.tokens.exact.keys())
        {
            assert!(row.contains(&format!("`{claim}`")), "{name}: {claim}");
        }
    }
}

#[test]
fn what_is_missing_or_wrong_is_named_with_an_example() {
    let error = Preset::named("azure").unwrap_err();
    assert!(error.to_string().contains("entra, "), "{error}");
    let error = auth0("https://acme.auth0.com/").unwrap_err();
    assert!(error.to_string().contains("such as acme.eu.auth0.com"), "{error}");
    let error = Preset::named("auth0").unwrap().with("domain", "x").unwrap_err();
    assert!(error.to_string().contains("It has: tenant"), "{error}");
    let error = Preset::named("auth0").unwrap().audience("api").build().unwrap_err();
    assert!(
        matches!(&error, PresetError::Missing { parameter, .. } if parameter == "tenant"),
        "{error}"
    );
    for none in [
        auth0("acme.eu.auth0.com").unwrap(),
        auth0("acme.eu.auth0.com").unwrap().audience(""),
    ] {
        let error = none.build().unwrap_err();
        assert!(error.to_string().contains("the identifier of your API"), "{error}");
    }
    let any = auth0("acme.eu.auth0.com")
        .unwrap()
        .danger_any_audience()
        .build()
        .unwrap();
    assert_eq!(any.rules.audiences(), None);
    let error = cognito("us-east-1", "eu-central-1_AbCdEf123")
        .unwrap()
        .audience("app")
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("begins with us-east-1_"), "{error}");
    for tenant in ["common", "organizations", "consumers", "contoso.onmicrosoft.com"] {
        entra(tenant).unwrap_err();
    }
}

#[test]
fn a_template_takes_every_tenant_and_nothing_else() {
    let template = entra_any_tenant().unwrap().audience("api").template().unwrap();
    let tenant = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490";
    let provider = template
        .provider(&format!("https://login.microsoftonline.com/{tenant}/v2.0"))
        .unwrap();
    assert!(provider.is_from_template());
    assert_eq!(
        format!("{:?}", provider.rules),
        format!("{:?}", entra(tenant).unwrap().audience("api").build().unwrap().rules)
    );

    for other in [
        format!("https://login.microsoftonline.com/{tenant}/v2.0/"),
        format!("https://login.microsoftonline.com/{tenant}"),
        format!("http://login.microsoftonline.com/{tenant}/v2.0"),
        format!("https://login.microsoftonline.com.evil.example/{tenant}/v2.0"),
        format!("https://sts.windows.net/{tenant}/"),
        format!("https://login.microsoftonline.com/{}/v2.0", tenant.to_uppercase()),
        format!("https://login.microsoftonline.com/{tenant}/x/v2.0"),
        "https://login.microsoftonline.com/common/v2.0".to_owned(),
        "https://login.microsoftonline.com/{tenantid}/v2.0".to_owned(),
        "https://login.microsoftonline.com//v2.0".to_owned(),
        String::new(),
    ] {
        assert!(template.provider(&other).is_none(), "{other}");
    }

    let one = entra(tenant).unwrap().audience("api").template().unwrap();
    let other = "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/v2.0";
    assert!(one.provider(other).is_none(), "what is filled in stays");
    assert!(template.provider(other).is_some());

    let error = auth0("acme.eu.auth0.com")
        .unwrap()
        .audience("api")
        .template()
        .unwrap_err();
    assert!(matches!(error, PresetError::NotMultiTenant { .. }));
    let error = entra_any_tenant().unwrap().template().unwrap_err();
    assert!(matches!(error, PresetError::NoAudience { .. }));
}

#[test]
fn an_issuer_of_a_template_is_asked_in_public_only() {
    let http = HttpClient::builder().build().unwrap();
    let template = entra_any_tenant().unwrap().audience("api").template().unwrap();
    let issuer = "https://login.microsoftonline.com/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0";
    let mut provider = template.provider(issuer).unwrap();
    // No preset writes an address; the policy of the client is what is looked at.
    provider.place = Place::KeySet("https://10.0.0.1/jwks".to_owned());
    let error = provider.key_source(&http).unwrap_err();
    assert!(error.what.contains("private"), "{}", error.what);
    let auth = || crate::ClientAuth::client_secret_basic("orders", "hunter2").unwrap();
    provider.place = Place::Metadata("https://10.0.0.1/.well-known/openid-configuration".to_owned());
    provider.key_source(&http).unwrap_err();
    provider.introspection(auth(), &http).unwrap_err();
    provider.userinfo(&http).unwrap_err();
    provider.from_template = false;
    provider.key_source(&http).unwrap();
    provider.introspection(auth(), &http).unwrap();
    provider.userinfo(&http).unwrap();
}
