//! Files for TLS: whether a certificate and its key make a listener, and whom an upstream's authorities make trusted.
//! `check` and what uses them later have one judge.

use std::path::Path;
use std::sync::Arc;

use pingora_core::tls::{
    RootCertStore, ServerConfig, install_default_crypto_provider, load_ca_file_into_store,
    load_certs_and_key_files, version,
};

/// The settings of a TLS listener.
pub type TlsListener = Arc<ServerConfig>;

/// The settings of a listener, HTTP/2 preferred; else what is wrong with the two files, without their names.
pub fn listener(cert: &Path, key: &Path) -> Result<TlsListener, String> {
    install_default_crypto_provider();
    let loaded = load_certs_and_key_files(&cert.to_string_lossy(), &key.to_string_lossy());
    let (certs, private) = match loaded {
        Ok(Some(pair)) => pair,
        Ok(None) => return Err("hold no certificate and private key in PEM".to_owned()),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let versions = [&version::TLS12, &version::TLS13];
    let builder = ServerConfig::builder_with_protocol_versions(&versions).with_no_client_auth();
    let mut config = builder
        .with_single_cert(certs, private)
        .map_err(|error| format!("do not belong together ({error}); write the key of this certificate"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificate authorities in a file; else what is wrong with it, without its name.
pub fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut trusted = RootCertStore::empty();
    load_ca_file_into_store(file, &mut trusted).map_err(|error| format!("cannot be loaded: {error}"))?;
    if trusted.is_empty() { Err("holds no certificate authority".to_owned()) } else { Ok(trusted) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_key_of_another_certificate_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let cert = CertificateParams::new(["x".to_owned()]).unwrap().self_signed(&own).unwrap();
        fs::write(path("cert.pem"), cert.pem()).unwrap();
        fs::write(path("own.key"), own.serialize_pem()).unwrap();
        fs::write(path("other.key"), other.serialize_pem()).unwrap();
        fs::write(path("broken.key"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
            .unwrap();
        let told = |key: &str| listener(&path("cert.pem"), &path(key)).map(|_| ());
        assert_eq!(told("own.key"), Ok(()));
        assert!(told("other.key").unwrap_err().contains("do not belong together"));
        assert!(told("broken.key").is_err() && told("missing.key").is_err() && told("cert.pem").is_err());
    }

    #[test]
    fn a_file_without_an_authority_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(["x".to_owned()]).unwrap().self_signed(&key).unwrap();
        for (text, holds) in [
            (cert.pem(), true),
            (String::new(), false),
            ("-----BEGIN CERTIFICATE-----\n".to_owned(), false),
            (format!("{}{}", cert.pem(), key.serialize_pem()), false),
        ] {
            fs::write(&path, &text).unwrap();
            assert_eq!(authorities(&path).is_ok(), holds, "{text}");
        }
        assert!(authorities(&folder.path().join("missing.pem")).is_err());
    }
}
