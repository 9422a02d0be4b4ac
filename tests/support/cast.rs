//! The cast of most tests: a server with its policies, our token, those who log in, and the check that all is well.

use serde_json::{Value, json};

use super::openbao::{Minted, OpenBao};
use super::sandbox::Sandbox;
use super::scripted::{Reply, Request, Scripted};

/// The display name that the default identity orders.
pub const DISPLAY_NAME: &str = "devvm-wizard";

/// The name the server gives to what the default identity mints.
pub const OUR_NAME: &str = "token-devvm-wizard";

/// The user of every sandbox, for whom the program mints.
pub const USER: &str = "wizard";

/// The period of our token, in seconds.
pub const PERIOD: u64 = 2_764_800;

/// What a run says that had nothing to do but renew our token.
pub const RENEWED: &str = "OK renewed (dn=token-devvm-wizard ttl=2764800s)";

/// An address where nobody listens.
pub const NOWHERE: &str = "http://127.0.0.1:1";

/// What the token file holds where no real server is asked.
pub const FILE_TOKEN: &str = "s.in-the-file-0123456789";

/// The order of a token as the default identity mints it.
pub fn ours() -> Value {
    json!({
        "display_name": DISPLAY_NAME, "policies": ["vault-admin", "sops-admin"], "period": "768h", "no_parent": true,
    })
}

/// A token of ours that ends within the hour and cannot be renewed. It may mint if this policy lets it.
pub fn dying(policy: &str) -> Value {
    json!({
        "display_name": DISPLAY_NAME, "policies": [policy], "ttl": "1h", "renewable": false, "no_parent": true,
    })
}

/// An object with another value in this place.
pub fn with(mut object: Value, key: &str, value: impl Into<Value>) -> Value {
    object[key] = value.into();
    object
}

/// An object that lacks these.
pub fn without(mut object: Value, keys: &[&str]) -> Value {
    for key in keys {
        object.as_object_mut().expect("an object").remove(*key);
    }
    object
}

/// A real server with the standard policies.
pub fn server() -> OpenBao {
    let server = OpenBao::start();
    server.standard_policies();
    server
}

impl OpenBao {
    /// A token that a person with every right mints.
    #[track_caller]
    pub fn mint_as_root(&self, order: Value) -> Minted {
        self.mint(self.root_token(), order)
    }

    /// Our token, as a person mints the first one.
    #[track_caller]
    pub fn mint_ours(&self) -> Minted {
        self.mint_as_root(ours())
    }

    /// A login that can mint ours: an administrator only by the policies of its entity, as an OIDC login is.
    #[track_caller]
    pub fn admin_login(&self) -> Minted {
        self.userpass_login("admin", &["default"], &["vault-admin"])
    }

    /// A login that can read and nothing else.
    #[track_caller]
    pub fn weak_login(&self) -> Minted {
        self.userpass_login("woodpecker", &["reader"], &[])
    }

    /// From now on no token is granted more than this at a time.
    #[track_caller]
    pub fn cap_leases(&self, most: &str) {
        let tune = json!({ "max_lease_ttl": most, "default_lease_ttl": most });
        self.as_root("POST", "sys/auth/token/tune", Some(tune));
    }

    /// Revokes every token of our name, so that a test can begin anew on the same server.
    #[track_caller]
    pub fn revoke_ours(&self) {
        for accessor in self.named(OUR_NAME) {
            self.revoke_accessor(&accessor);
        }
    }

    /// The accessor of the living token in the file.
    #[track_caller]
    pub fn accessor_in(&self, home: &Sandbox) -> String {
        let info = self.lookup(&home.token()).expect("the token in the file lives");
        info["accessor"].as_str().expect("an accessor").to_owned()
    }

    /// In front of this server: loses the listing, as an outage in the middle of a heal would.
    pub fn losing_the_list(&self) -> Scripted {
        Scripted::in_front_of(self, |request, _| {
            request.call().starts_with("auth/token/accessors").then_some(Reply::Close)
        })
    }

    /// What the server knows of this token if it lives and is as the program orders one, whoever minted it;
    /// otherwise what is wrong with it, in words that do not repeat it.
    pub fn recognise(&self, token: &str) -> Result<Value, String> {
        // The server is kind to white space.
        if token != token.trim() {
            return Err("it is not the raw token".to_owned());
        }
        let info = self.lookup(token).ok_or("it is dead")?;
        if info["id"] != token {
            return Err("the server knows it by another name".to_owned());
        }
        let expected = [
            ("display_name", json!(OUR_NAME)),
            ("policies", json!(["default", "sops-admin", "vault-admin"])),
            ("period", json!(PERIOD)),
            ("renewable", json!(true)),
            ("orphan", json!(true)),
            ("type", json!("service")),
            ("explicit_max_ttl", json!(0)),
            ("num_uses", json!(0)),
        ];
        for (name, value) in expected {
            if info[name] != value {
                return Err(format!("its {name} is {} and not {value}", info[name]));
            }
        }
        Ok(info)
    }

    /// The same if no other token of our name lives.
    pub fn recognise_alone(&self, token: &str) -> Result<Value, String> {
        let info = self.recognise(token)?;
        let named = self.named(OUR_NAME);
        if named.iter().ne(info["accessor"].as_str()) {
            return Err(format!("{} tokens of our name live", named.len()));
        }
        Ok(info)
    }

    /// The same as [`OpenBao::recognise`] if the program minted it, for this user.
    pub fn recognise_minted(&self, token: &str, user: &str) -> Result<Value, String> {
        let info = self.recognise(token)?;
        let meta = &info["meta"];
        if meta["managed_by"] != "vault-token-renew" || meta["user"] != user {
            return Err(format!("the program did not mint it for {user}: {meta}"));
        }
        Ok(info)
    }

    /// Checks that the file holds our token, whoever minted it, that no other of our name lives, and that the file is
    /// the owner's alone. The accessor.
    #[track_caller]
    pub fn check_ours(&self, home: &Sandbox) -> String {
        let info = believe(self.recognise_alone(&home.token()));
        assert_eq!(home.mode(".vault-token"), 0o600);
        info["accessor"].as_str().expect("an accessor").to_owned()
    }

    /// The same of a token that the program has minted.
    #[track_caller]
    pub fn check_minted(&self, home: &Sandbox) -> String {
        believe(self.recognise_minted(&home.token(), USER));
        self.check_ours(home)
    }

    /// The same after a heal, which also leaves nothing lying about in the home.
    #[track_caller]
    pub fn check_healed(&self, home: &Sandbox) -> String {
        let accessor = self.check_minted(home);
        home.check_tidy();
        accessor
    }
}

/// What is known of the token in a file, which has to have been recognised.
#[track_caller]
pub fn believe(recognised: Result<Value, String>) -> Value {
    recognised.unwrap_or_else(|wrong| panic!("the token in the file: {wrong}"))
}

/// What a server that only pretends tells of the token with this id and this name.
pub fn told_of(id: &str, name: &str) -> String {
    json!({ "data": {
        "id": id, "accessor": format!("accessor-of-{name}"), "display_name": name, "ttl": PERIOD,
        "period": if name == OUR_NAME { PERIOD } else { 0 }, "renewable": true,
        "policies": ["default", "sops-admin", "vault-admin"],
        "type": "service", "orphan": true,
    }})
    .to_string()
}

/// What it answers to the renewal of the token that asks.
pub fn renewal(request: &Request) -> String {
    let token = request.header("x-vault-token");
    json!({ "auth": { "client_token": token, "lease_duration": PERIOD, "renewable": true } }).to_string()
}

/// What it answers to a run that finds our token in the file.
pub fn healthy(request: &Request) -> Reply {
    match request.call() {
        "auth/token/lookup-self" => Reply::Json(200, told_of(FILE_TOKEN, OUR_NAME)),
        "auth/token/renew-self" => Reply::Json(200, renewal(request)),
        _ => Reply::Json(404, r#"{"errors":["no handler for route"]}"#.to_owned()),
    }
}
