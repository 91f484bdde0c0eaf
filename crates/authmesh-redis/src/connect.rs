//! What a connection needs: address, credentials, certificates.

use std::io::Read as _;
use std::path::Path;

use authmesh::ports::PortError;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, TlsCertificates,
};
use zeroize::Zeroizing;

use crate::address::Address;
use crate::config::RedisConfig;

/// The longest file with a password or a certificate, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// A client for one server, which speaks RESP3. It opens no connection. Files are read now.
pub(crate) fn client(config: &RedisConfig, address: &Address) -> Result<Client, PortError> {
    let mut settings = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_db(config.database)
        .set_lib_name("authmesh", env!("CARGO_PKG_VERSION"));
    if let Some(username) = &config.username {
        settings = settings.set_username(username);
    }
    if let Some(path) = &config.password_file {
        settings = settings.set_password(password(path)?.as_str());
    } else if let Some(password) = &config.password {
        settings = settings.set_password(password.expose());
    }
    let unusable = |_| PortError::Refused(format!("{address} is no address that can be connected to"));
    let addr = if config.tls {
        // rustls takes the provider of the process, and panics where there is none and it has two to choose from. An
        // error here says that the program has installed one: that one is used.
        let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
        ConnectionAddr::TcpTls {
            host: address.host.clone(),
            port: address.port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(address.host.clone(), address.port)
    };
    let info = addr
        .into_connection_info()
        .map_err(unusable)?
        .set_redis_settings(settings);
    if !config.tls {
        return Client::open(info).map_err(unusable);
    }
    let client_tls = match &config.client_certificate {
        None => None,
        Some((certificate, key)) => Some(ClientTlsConfig {
            client_cert: read("client_certificate", certificate)?.to_vec(),
            client_key: read("client_certificate", key)?.to_vec(),
        }),
    };
    let root_cert = match &config.ca_file {
        None => None,
        Some(path) => Some(read("ca_file", path)?.to_vec()),
    };
    let certificates = TlsCertificates { client_tls, root_cert };
    Client::build_with_tls(info, certificates).map_err(|_| {
        PortError::Refused(
            "the certificates of redis.ca_file and redis.client_certificate cannot be used: both must be PEM, and the \
             key must be that of the certificate"
                .into(),
        )
    })
}

fn password(path: &Path) -> Result<Zeroizing<String>, PortError> {
    let bytes = read("password_file", path)?;
    let text = std::str::from_utf8(&bytes).ok().map(|text| {
        let text = text.strip_suffix('\n').unwrap_or(text);
        text.strip_suffix('\r').unwrap_or(text)
    });
    match text {
        Some(text) if !text.is_empty() && !text.contains('\n') => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(PortError::Refused(format!(
            "redis.password_file: {} must hold one line, the password",
            path.display()
        ))),
    }
}

fn read(setting: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, PortError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let done = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
    match done {
        Ok(_) => Ok(bytes),
        Err(error) => Err(PortError::Refused(format!(
            "redis.{setting}: {} cannot be read: {error}",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn at(url: &str) -> (RedisConfig, Address) {
        let config = RedisConfig::new(url).unwrap();
        let address = config.seeds[0].clone();
        (config, address)
    }

    #[test]
    fn a_tls_client_can_be_made() {
        let (config, address) = at("rediss://127.0.0.1:1");
        assert!(client(&config, &address).is_ok());
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_setting() {
        let (plain, address) = at("redis://127.0.0.1:1");
        let (tls, _) = at("rediss://127.0.0.1:1");
        let none = "/does/not/exist";
        let cases = [
            (
                plain.clone().password_file(none),
                "redis.password_file: /does/not/exist",
            ),
            (plain.password_file("/dev/null"), "one line"),
            (tls.clone().ca_file(none), "redis.ca_file: /does/not/exist"),
            (tls.clone().client_certificate(none, none), "redis.client_certificate: "),
            (tls.client_certificate("/dev/null", "/dev/null"), "must be PEM"),
        ];
        for (config, says) in cases {
            let refused = client(&config, &address).map(|_| ()).unwrap_err();
            assert!(
                matches!(&refused, PortError::Refused(text) if text.contains(says)),
                "{refused:?}"
            );
        }
    }
}
