//! Pages of a fresh store, told to a deployment that has more.

use super::*;

fn translation() -> Translation {
    let address = Address::parse("https://chat.example/v/").unwrap();
    let mut translation = Translation::new(address, "-0f-1".to_owned());
    for (target, location) in [
        ("/v/register", "/api/users/40"),
        ("/v/register", "https://chat.example/v/api/users/42"),
        ("/v/api/messages", "/api/messages/700"),
        ("/v/api/users/42/messages", "/v/api/messages/709"),
    ] {
        translation.learn(&request(target, 201, Some(location)), None).unwrap();
    }
    translation
}

fn request(target: &str, status: u16, location: Option<&str>) -> CurlRequest {
    CurlRequest {
        method: "POST".to_owned(),
        target: target.to_owned(),
        status: Some(status),
        location: location.map(str::to_owned),
    }
}

#[test]
fn scripts_are_translated() {
    let mut translation = translation();
    let epoch = "</x?epoch=5eed0000c4a70001>";
    translation.learn_epoch(epoch, "</x?epoch=00000000000000aa>");
    for (documented, expected) in [
        (
            "curl $O/register -d '{\"username\":\"alice\"}'",
            "curl $A/register -d '{\"username\":\"alice-0f-1\"}'",
        ),
        (
            "-d '{\"username\" : \"Alice\",\"to_user\": 2}'",
            "-d '{\"username\" : \"Alice-0f-1\",\"to_user\": 42}'",
        ),
        (
            "-d '{\"username\":\"al ice\",\"to_user\":0}'",
            "-d '{\"username\":\"al ice\",\"to_user\":0}'",
        ),
        ("-d '{\"username\":'", "-d '{\"username\":'"),
        ("-d '{\"username\":7,\"to_user\":\"x\"}'", "-d '{\"username\":7,\"to_user\":\"x\"}'"),
        ("-d '{\"to_user\":3}'", "-d '{\"to_user\":9007199254740991}'"),
        ("$O/api/users/1/messages", "$A/api/users/40/messages"),
        ("$O/api/users/3", "$A/api/users/9007199254740991"),
        ("$O/api/users/999/messages -d '{}'", "$A/api/users/9007199254740991/messages -d '{}'"),
        ("$O/api/users/me", "$A/api/users/me"),
        (
            "$O/api/users/me/conversations/2/read -d '{\"up_to\":1}'",
            "$A/api/users/me/conversations/42/read -d '{\"up_to\":709}'",
        ),
        ("$O/api/users/me/blocks/2", "$A/api/users/me/blocks/42"),
        ("$O/api/users/me/blocks?after=2&limit=1", "$A/api/users/me/blocks?after=42&limit=1"),
        ("$O/api/users/me/conversations/0/read", "$A/api/users/me/conversations/0/read"),
        ("-d '{\"up_to\":'", "-d '{\"up_to\":'"),
        ("$O/api/users/02", "$A/api/users/02"),
        ("$O/api/users/alice/messages", "$A/api/users/alice/messages"),
        ("\"$O/api/messages/1\"", "\"$A/api/messages/709\""),
        ("$O/api/messages/2", "$A/api/messages/9007199254740991"),
        ("'$O/api/messages?before=1&limit=2'", "'$A/api/messages?before=709&limit=2'"),
        ("'$O/api/messages?before=2'", "'$A/api/messages?before=710'"),
        ("'$O/api/messages?before=3'", "'$A/api/messages?before=9007199254740991'"),
        ("'$O/api/messages?after=-1'", "'$A/api/messages?after=-1'"),
        ("'$O/api/messages?after=9007199254740992'", "'$A/api/messages?after=9007199254740992'"),
        ("'$O/api/users?after=1&limit=1'", "'$A/api/users?after=40&limit=1'"),
        ("'$O/api/users?username=bob'", "'$A/api/users?username=bob-0f-1'"),
        (
            "'$O/api/users/me/messages?with=2&after=0'",
            "'$A/api/users/me/messages?with=42&after=700'",
        ),
        ("'$O/api/messages?epoch=0000000000000000'", "'$A/api/messages?epoch=0000000000000000'"),
        ("'$O/api/messages?epoch=5eed0000c4a70001'", "'$A/api/messages?epoch=00000000000000aa'"),
        ("NEXT=$(curl '$O/x')\n", "NEXT=$(curl '$A/x')\n"),
        ("curl \"$O$NEXT\" $O/x", "curl \"$A$NEXT\" $A/x"),
    ] {
        let documented = documented.replace("$O", ORIGIN);
        let expected = expected.replace("$A", "https://chat.example/v");
        assert_eq!(translation.script(&documented), Ok(expected));
    }
}

#[test]
fn what_might_name_a_stranger_is_refused() {
    for script in [
        "for n in 1 2; do curl $O/api/users/$n; done",
        "for n in /1 /2; do curl $O$n; done",
        "curl \"$O${KEPT}\"",
        "curl \"$O$KEPT/x\"",
        "curl \"$O/x/$KEPT\"",
        "curl \"$O/x?y=$KEPT\"",
        "KEPT=$(curl $O/x)\ncurl \"$O$KEPT\"",
        "for n in a b; do curl $O/register -d '{\"username\":\"'$n'\"}'; done",
        "curl $O/register -d \"{\\\"username\\\":\\\"alice\\\"}\"",
        "curl $O/register -d 'username=alice'",
        "curl '$O/api/users?username=%61lice'",
        "curl $O/register -d '{\"username\":\"\\u0061lice\"}'",
        "curl $O/register -d '{\"to_user\":'$n'}'",
        "curl $O/register -d '{\"username\":'\"$n\"'}'",
        "curl $O/register -d \"{'to_user':$n}\"",
        "curl $O/register -d '{\"username\":\"a2345678901234567890123456789\"}'",
    ] {
        let mut translation = translation();
        translation.script("KEPT=$(curl x)").unwrap();
        let refused = translation.script(&script.replace("$O", ORIGIN));
        assert!(refused.is_err(), "{script}: {refused:?}");
    }
}

#[test]
fn links_that_are_followed_are_known() {
    let script =
        "curl \"$O$NEXT\" -H \"X: $ALICE\" '$O/x'; curl $O$PREV; X=$O".replace("$O", ORIGIN);
    assert_eq!(followed(&script).collect::<Vec<_>>(), ["NEXT", "PREV"]);
}

#[test]
fn answers_are_translated() {
    let translation = translation();
    let documented = serde_json::json!([
        {"id": 1, "from_user": 2, "to_user": 0, "text": "id 1"},
        {"id": 2, "username": "Bob"},
        {"id": 2, "username": "deleted~2"},
        {"status": "ok", "id": 0},
        {"id": 1},
        {"user": 2, "username": "bob", "by_user": 1},
        {"with_user": 2, "read_up_to": 1},
        {"id": 0, "from_user": 1, "from_username": "ann"},
    ]);
    let expected = serde_json::json!([
        {"id": 709, "from_user": 42, "to_user": 0, "text": "id 1"},
        {"id": 42, "username": "Bob-0f-1"},
        {"id": 42, "username": "deleted~42"},
        {"status": "ok", "id": 700},
        {"id": 40},
        {"user": 42, "username": "bob-0f-1", "by_user": 40},
        {"with_user": 42, "read_up_to": 709},
        {"id": 700, "from_user": 40, "from_username": "ann-0f-1"},
    ]);
    assert_eq!(translation.json(&documented), expected);
    assert_eq!(
        translation.links(
            "</api/messages?before=1&limit=2>; rel=\"prev\", </api/users?after=2>; rel=\"next\""
        ),
        "</api/messages?before=709&limit=2>; rel=\"prev\", </api/users?after=42>; rel=\"next\""
    );
    assert_eq!(translation.documented(Kind::Message, 709), Some(1));
    assert_eq!(translation.shared(Kind::Message), BTreeSet::from([700]));
}

/// A message that is sent again under its key.
#[test]
fn what_is_answered_again_is_what_was_made() {
    let mut translation = translation();
    let posted = |translation: &mut Translation, actual: &str, documented: &str| {
        let actual = request("/api/messages", 201, Some(actual));
        translation.learn(&actual, Some(documented))
    };
    posted(&mut translation, "/api/messages/800", "/api/messages/5").unwrap();
    posted(&mut translation, "/api/messages/801", "/api/messages/6").unwrap();
    posted(&mut translation, "/api/messages/800", "/api/messages/5").unwrap();
    posted(&mut translation, "/api/messages/801", "/api/messages/5").unwrap_err();
    posted(&mut translation, "/api/messages/802", "/api/messages/7").unwrap();
    assert_eq!(translation.id(Kind::Message, 7), 802);
    assert_eq!(translation.id(Kind::Message, 5), 800);
}

/// A fresh store would have given it the id, so the next one is not it.
#[test]
fn an_id_that_was_not_given_out_is_nobodys() {
    let mut translation = translation();
    translation.learn(&request("/register", 409, None), Some("/api/users/3")).unwrap();
    translation.learn(&request("/register", 201, Some("/api/users/50")), None).unwrap();
    assert_eq!(translation.id(Kind::User, 3), MAX_ID);
    assert_eq!(translation.id(Kind::User, 4), 50);
    for location in [None, Some("/api/users/x"), Some("/api/users/50"), Some("/else/51")] {
        assert!(translation.learn(&request("/register", 201, location), None).is_err());
    }
}
