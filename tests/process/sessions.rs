//! Sessions end at once, on every connection, and stay ended through any restart.

use std::fs;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::client::{Answer, Client, PASSWORD, credentials, each};
use crate::restart::Restart;
use crate::server::{STORES, Server, run, veche};
use crate::stage::Stage;

const OTHER: &str = "staple battery";
const MANY: usize = 50;

fn is_refused(client: &Client) -> bool {
    let answer = client.get("/api/users/me");
    answer.status == 401 && answer.problem() == "token-invalid"
}

/// Another login of the same account, on connections of its own.
pub(crate) fn again(server: &Server, name: &str) -> Client {
    Client::new(server).log_in(name)
}

fn change(client: &Client, old: &str, new: &str) -> Answer {
    let body = json!({ "old_password": old, "new_password": new });
    client.ask("PUT", "/api/users/me/password", Some(&body))
}

pub(crate) fn log_out(client: &Client, path: &str) {
    assert_eq!(client.post(path, &json!({})).status, 204);
}

fn sids(client: &Client) -> Vec<String> {
    let sid = |session: &Value| session["sid"].as_str().unwrap().to_owned();
    client.get("/api/users/me/sessions").items().iter().map(sid).collect()
}

#[test]
fn a_session_ends_at_once_on_every_connection() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let ann = Client::signed_up(&server, "ann");
        let (phone, bob) = (again(&server, "ann"), Client::signed_up(&server, "bob"));
        let elsewhere = Client::new(&server).with_token(phone.token());
        assert!(!is_refused(&elsewhere));
        assert_eq!(sids(&ann).len(), 2);
        log_out(&phone, "/logout");
        assert!(is_refused(&phone) && is_refused(&elsewhere), "{store}");
        assert!(!is_refused(&ann) && !is_refused(&bob));
        // One of them by its id; nobody else's.
        let (third, others) = (again(&server, "ann"), sids(&bob));
        let of_bob = format!("/api/users/me/sessions/{}", others[0]);
        assert_eq!(ann.ask("DELETE", &of_bob, None).status, 404);
        let there = sids(&ann);
        let current = |it: &Value| it["current"] == true;
        let listed = third.get("/api/users/me/sessions").items();
        let own = listed.iter().find(|it| current(it)).unwrap()["sid"].as_str().unwrap();
        assert_eq!(listed.iter().filter(|it| current(it)).count(), 1);
        assert!(there.contains(&own.to_owned()));
        let line = format!("/api/users/me/sessions/{own}");
        assert_eq!(ann.ask("DELETE", &line, None).status, 204);
        assert_eq!(ann.ask("DELETE", &line, None).status, 404);
        assert!(is_refused(&third) && !is_refused(&ann) && !is_refused(&bob));
    }
}

/// All within one second, the resolution of `iat`, again and again.
#[test]
fn a_session_begun_in_the_second_in_which_all_others_ended_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start("sled", dir.path());
    let mut ann = Client::signed_up(&server, "ann");
    for _ in 0..5 {
        let other = again(&server, "ann");
        for (old, new) in [(PASSWORD, OTHER), (OTHER, PASSWORD)] {
            let changed = change(&ann, old, new);
            assert_eq!(changed.status, 200, "{changed:?}");
            let fresh = ann.clone().with_token(changed.json()["token"].as_str().unwrap());
            assert!(is_refused(&ann) && is_refused(&other) && !is_refused(&fresh));
            assert_eq!(sids(&fresh).len(), 1);
            ann = fresh;
        }
        log_out(&ann, "/logout/all");
        assert!(is_refused(&ann));
        ann = again(&server, "ann");
        assert!(!is_refused(&ann));
    }
}

#[test]
fn many_simultaneous_logouts_all_take_effect() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(store, dir.path());
        let ann = Client::signed_up(&server, "ann");
        let addr = server.addr();
        let clients: Vec<Client> = (1..MANY).map(|_| again(&server, "ann")).collect();
        let tokens: Vec<String> = clients.iter().map(|it| it.token().to_owned()).collect();
        each(MANY - 1, |n| {
            let client = Client::at(addr).with_token(&*tokens[n]);
            log_out(&client, "/logout");
            assert!(is_refused(&client));
        });
        assert!(clients.iter().all(is_refused), "{store}");
        assert_eq!(sids(&ann).len(), 1);
        // With one more than the limit, the oldest ends.
        for _ in 0..MANY {
            again(&server, "ann");
        }
        assert!(is_refused(&ann));
    }
}

#[test]
fn ended_sessions_stay_ended_through_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("sled", dir.path());
    let data = dir.path().join("data");
    let (ann, phone) = (Client::signed_up(&server, "ann"), again(&server, "ann"));
    let (bob, carol) = (Client::signed_up(&server, "bob"), Client::signed_up(&server, "carol"));
    carol.say("I was here");
    carol.tell(ann.id(), "between us");
    log_out(&phone, "/logout");
    let changed = change(&bob, PASSWORD, OTHER);
    let fresh = changed.json()["token"].as_str().unwrap().to_owned();
    let gone = carol.post("/api/users/me/deletion", &json!({ "password": PASSWORD }));
    assert_eq!(gone.status, 204, "{gone:?}");
    for restart in Restart::ALL {
        server = restart.run(server, dir.path(), &[]);
        let with = |token: &str| Client::new(&server).with_token(token);
        for ended in [&phone, &bob, &carol] {
            assert!(is_refused(&with(ended.token())), "{restart:?}");
        }
        let ann = with(ann.token());
        assert!(!is_refused(&ann) && !is_refused(&with(&fresh)), "{restart:?}");
        let nobody = Client::new(&server);
        let log_in = |name, password| nobody.post("/login", &credentials(name, password)).status;
        assert_eq!((log_in("bob", PASSWORD), log_in("bob", OTHER)), (401, 200));
        assert_eq!(log_in("carol", PASSWORD), 401);
        assert_eq!(nobody.post("/register", &credentials("Carol", PASSWORD)).status, 409);
        let tombstone = json!({ "id": 3, "username": "deleted~3", "deleted": true });
        assert_eq!(ann.get("/api/users/3").json(), tombstone);
        assert_eq!(ann.get("/api/users").items()[2], tombstone);
        assert_eq!(ann.get("/api/users?username=carol").items(), [json!(null); 0]);
        assert_eq!(ann.get("/api/messages").items()[0]["from_user"], 3);
        assert_eq!(ann.get("/api/users/me/messages?with=3").ids(), [1]);
        let told = ann.post("/api/users/3/messages", &json!({ "text": "hello?" }));
        assert_eq!(told.status, 404);
    }
    // After a compaction no hash of the ended account is left.
    server.stop();
    let compacted = run(veche().arg("compact").arg("--data-dir").arg(&data));
    assert!(compacted.status.success(), "{compacted:?}");
    let mut hashes = 0;
    for file in fs::read_dir(data.join("log")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        hashes += bytes.windows(9).filter(|it| it == b"$argon2id").count();
    }
    assert_eq!(hashes, 2, "ann's, and bob's new one");
}

#[test]
fn a_waiting_client_is_told_that_the_session_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::set("memory", dir.path());
    let server = &stage.server;
    let (ann, phone) = (Client::signed_up(server, "ann"), again(server, "ann"));
    let mut waiting = stage.ask(&phone, "/api/messages?after=-1&wait=60");
    let mut lasting = stage.ask(&ann, "/api/messages?after=-1&wait=60");
    stage.wait_for("veche_parked", 2);
    let third = Client::new(server).with_token(phone.token());
    log_out(&third, "/logout");
    assert_eq!(waiting.answer().problem(), "token-invalid");
    stage.wait_for("veche_parked", 1);
    assert_eq!(Client::signed_up(server, "bob").say("hello"), 0);
    assert_eq!(lasting.answer().ids(), [0], "another session waits on");
}

/// Tokens that only a holder of the secret can sign, but that veche never issues.
#[test]
fn a_token_of_no_session_is_refused() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        fs::write(&secret, [7; 32]).unwrap();
        let arguments = ["--jwt-secret-file", secret.to_str().unwrap()];
        let server = Server::start_with(store, dir.path(), &arguments);
        let ann = Client::signed_up(&server, "ann");
        let link = ann.get("/api/messages").link("next").unwrap();
        let epoch = link.split("epoch=").nth(1).unwrap();
        let sid = ann.get("/api/users/me/sessions").items()[0]["sid"].clone();
        let far = 99_999_999_999_u64;
        let with = |more: Value| {
            let mut claims = json!({ "UserID": 1, "iat": 1, "exp": far, "epoch": epoch });
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let key = EncodingKey::from_secret(&[7; 32]);
            let token = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
            ann.clone().with_token(token)
        };
        assert!(!is_refused(&with(json!({ "sid": sid }))), "{store}");
        for refused in [
            json!({}),
            json!({ "jti": "00".repeat(16) }),
            json!({ "sid": null }),
            json!({ "sid": "00".repeat(16) }),
            json!({ "sid": sid, "UserID": 2 }),
            json!({ "sid": sid, "nbf": far }),
            json!({ "sid": sid, "nbf": "1" }),
            json!({ "sid": sid, "nbf": null }),
            json!({ "sid": sid, "exp": 1e10 }),
            json!({ "sid": sid, "iat": null }),
        ] {
            assert!(is_refused(&with(refused.clone())), "{store}: {refused}");
        }
    }
}

/// A guess with a token counts like one without.
#[test]
fn guesses_at_the_password_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with("memory", dir.path(), &["--login-limit", "2/d"]);
    let ann = Client::signed_up(&server, "ann");
    for status in [401, 401, 429] {
        assert_eq!(change(&ann, "a guess", OTHER).status, status);
    }
    let end = ann.post("/api/users/me/deletion", &json!({ "password": PASSWORD }));
    assert_eq!(end.status, 429);
    assert_eq!(ann.post("/login", &credentials("ann", PASSWORD)).status, 429);
    assert!(!is_refused(&ann));
}
