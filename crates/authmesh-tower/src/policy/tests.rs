#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn fails(policy: RoutePolicy) -> PolicyError {
    policy.build().unwrap_err()
}

#[test]
fn a_public_route_demands_nothing_of_a_token() {
    let public = RoutePolicy::public;
    assert!(public().build().unwrap().is_public());
    for odd in [
        public().scopes_all(["a"]),
        public().scopes_any(["a"]),
        public().roles_all(["a"]),
        public().roles_any(["a"]),
        public().sensitive(),
        public().max_age(Duration::ZERO),
        public().scopes_all(["a"]).and(RoutePolicy::authenticated()),
        RoutePolicy::authenticated().and(public().scopes_all(["a"])),
    ] {
        assert_eq!(fails(odd.clone()), PolicyError::PublicWithDemands, "{odd:?}");
    }
}

#[test]
fn both_is_what_either_demands() {
    let public = RoutePolicy::public();
    let plain = RoutePolicy::authenticated();
    assert!(!public.clone().and(plain.clone()).build().unwrap().is_public());
    assert!(!plain.clone().and(public.clone()).build().unwrap().is_public());
    assert!(public.clone().and(public.clone()).build().unwrap().is_public());
    let minute = Duration::from_secs(60);
    let both = plain
        .clone()
        .max_age(minute)
        .and(plain.clone().max_age(minute * 2).sensitive());
    let demands = both.build().unwrap();
    assert_eq!((demands.max_age, demands.sensitive), (Some(minute), true));
    let demands = plain
        .clone()
        .scopes_all(["a"])
        .and(plain.scopes_any(["b", "c"]))
        .build()
        .unwrap();
    assert_eq!(demands.groups.len(), 2);
}

#[test]
fn a_list_that_could_not_be_meant_is_an_error() {
    let plain = RoutePolicy::authenticated;
    let none: [&str; 0] = [];
    for odd in [
        plain().scopes_all(none),
        plain().scopes_any(none),
        plain().roles_all(none),
        plain().roles_any(none),
        plain().and(plain().scopes_any(none)),
    ] {
        assert_eq!(fails(odd.clone()), PolicyError::EmptyList, "{odd:?}");
    }
    for odd in ["", "two words", "quo\"te", "back\\slash", "ü"] {
        assert_eq!(
            fails(plain().scopes_all(["fine", odd])),
            PolicyError::NotAScope(odd.into())
        );
    }
    assert_eq!(fails(plain().roles_any(["admin", ""])), PolicyError::EmptyRole);
    assert!(
        plain().roles_any(["shift lead"]).build().is_ok(),
        "a role may be any text"
    );
    for odd in ["", "roles", "/a/~2", "/a/~"] {
        let policy = plain().roles_at_claim(odd).roles_any(["admin"]);
        assert_eq!(fails(policy), PolicyError::NotAPointer(odd.into()));
    }
    assert!(plain().roles_at_claim("/a~1b/~0c").roles_any(["x"]).build().is_ok());
}
