use super::*;

fn key(fill: u8) -> SecretKey {
    SecretKey::parse(&hex::encode([fill; 32])).unwrap()
}

fn secret(name: &str, value: &str) -> SessionSecret {
    SessionSecret { name: name.to_owned(), value: value.into() }
}

#[test]
fn a_key_is_read_in_either_form_and_nothing_else_is_one() {
    let bytes: Vec<u8> = (100..132).collect();
    let id = SecretKey::parse(&hex::encode(&bytes)).unwrap().id().to_owned();
    for text in [hex::encode(&bytes).to_uppercase(), STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)]
    {
        assert_eq!(SecretKey::parse(&format!(" {text}\n")).unwrap().id(), id);
    }
    for text in ["", "x", &hex::encode(&bytes[..31]), &hex::encode([1; 33]), &STANDARD.encode(&bytes[..31])] {
        assert!(SecretKey::parse(text).is_none(), "{text}");
    }
    let made = new_key_text().unwrap();
    assert!(SecretKey::parse(made.expose_secret()).is_some());
    assert_ne!(made.expose_secret(), new_key_text().unwrap().expose_secret());
}

#[test]
fn a_secret_opens_with_its_key_in_its_place_and_not_otherwise() {
    let (ours, session) = (key(1), SessionId::new());
    let sealed = ours.seal(&session, &secret("TOKEN", "hunter2")).unwrap();
    assert_eq!(ours.open(&session, &sealed).unwrap().expose_secret(), "hunter2");
    assert_eq!(key(2).open(&session, &sealed).unwrap_err(), SealError::OtherKey);
    assert_eq!(ours.open(&SessionId::new(), &sealed).unwrap_err(), SealError::Damaged);
    let renamed = Sealed { name: "OTHER".to_owned(), ..sealed.clone() };
    assert_eq!(ours.open(&session, &renamed).unwrap_err(), SealError::Damaged);
    let cut = Sealed { sealed: sealed.sealed[..20].to_owned(), ..sealed.clone() };
    assert_eq!(ours.open(&session, &cut).unwrap_err(), SealError::Damaged);
    let again = ours.seal(&session, &secret("TOKEN", "hunter2")).unwrap();
    assert_ne!(again.sealed, sealed.sealed, "the nonce is new");
}

#[test]
fn the_digest_tells_equal_secrets_from_others_under_one_key() {
    let one = [secret("A", "bc")];
    assert_eq!(key(1).digest(&one), key(1).digest(&[secret("A", "bc")]));
    assert_ne!(key(1).digest(&one), key(2).digest(&one));
    assert_ne!(key(1).digest(&one), key(1).digest(&[secret("Ab", "c")]));
}

#[test]
fn names_and_sizes_are_judged() {
    let long = "x".repeat(MAX_VARIABLE);
    let by_profile = |name: &str| (name == "MODEL").then(|| SecretFault::OfProfile(name.to_owned()));
    let judge = |name: &str| check(&[secret(name, "v")], by_profile).map_err(|(_, fault)| fault);
    assert_eq!(judge("GITHUB_TOKEN"), Ok(()));
    for name in ["", "1A", "A-B", "A B", "Ä", "A=B"] {
        assert_eq!(judge(name), Err(SecretFault::Name), "{name}");
    }
    for name in ["PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "SATCHEL_X", "GLIBC_TUNABLES", "BASH_ENV"] {
        assert_eq!(judge(name), Err(SecretFault::Reserved(name.to_owned())));
    }
    assert_eq!(judge("MODEL"), Err(SecretFault::OfProfile("MODEL".to_owned())));
    let none = |_: &str| None;
    assert_eq!(
        check(&[secret("A", "1"), secret("A", "2")], none),
        Err((Some(1), SecretFault::Twice("A".to_owned())))
    );
    assert!(matches!(check(&[secret("A", &long)], none), Err((Some(0), SecretFault::TooLong(_)))));
    let many: Vec<_> = (0..5).map(|n| secret(&format!("A{n}"), &long[..120_000])).collect();
    assert!(matches!(check(&many, none), Err((None, SecretFault::TooMuch(_)))));
    let many: Vec<_> = (0..51).map(|n| secret(&format!("A{n}"), "")).collect();
    assert_eq!(check(&many, none), Err((None, SecretFault::TooMany(51))));
}
