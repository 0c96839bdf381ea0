//! Masks names before any rule sees them, so that no finding can quote one.
//!
//! Equal names stay equal: rules that compare the name asked by DNS with the one of a Host header
//! conclude the same as without redaction.

use analyzer::app::{AppFacts, pattern};
use analyzer::{Analysis, Connection};

use super::redactor::Redactor;

/// Request methods that reveal nothing (RFC 9110 §9, RFC 5789, RFC 4918).
const METHODS: [&str; 16] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
];

/// Protocol names of ALPN that reveal nothing.
const ALPN: [&str; 5] = ["h2", "http/1.1", "http/1.0", "h3", "acme-tls/1"];

/// Server products whose name is the key to the right remedy; versions are masked.
const PRODUCTS: [&str; 18] = [
    "nginx",
    "openresty",
    "Apache",
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "envoy",
    "istio-envoy",
    "Jetty",
    "Tomcat",
    "Caddy",
    "Kestrel",
    "Microsoft-IIS",
    "Werkzeug",
    "Puma",
    "Node.js",
    "AmazonS3",
    "awselb",
];

impl Redactor {
    /// A connection whose payload names nobody.
    #[must_use]
    pub fn connection(&self, connection: &Connection) -> Connection {
        let mut masked = connection.clone();
        self.app(&mut masked.app);
        for reset in &mut masked.resets {
            reset.reason = None;
            reset.stated = None;
        }
        if let Some(process) = &mut masked.process {
            process.name = process.name.as_ref().map(|_| "hidden".to_owned());
            process.pod = process.pod.as_deref().map(|pod| self.name(pod));
            let container = process.container.as_deref();
            process.container = container.map(|container| self.name(container));
        }
        if let Some(side) = &mut masked.proxied_to {
            side.service = side.service.as_deref().map(|name| self.name(name).into());
        }
        masked
    }

    /// Cross-connection facts that name nobody.
    #[must_use]
    pub fn analysis(&self, mut analysis: Analysis) -> Analysis {
        let names = std::mem::take(&mut analysis.dns_names).into_iter();
        analysis.dns_names = names
            .map(|(name, addresses)| (self.name(&name), addresses))
            .collect();
        analysis
    }

    fn app(&self, app: &mut AppFacts) {
        let exchanges = app.http.iter_mut().flat_map(|http| {
            let cut = http.cut.iter_mut().map(|cut| &mut cut.exchange);
            http.kept.iter_mut().chain(cut)
        });
        for exchange in exchanges {
            if !METHODS.contains(&exchange.method.as_ref()) {
                exchange.method = "METHOD".into();
            }
            exchange.target = self.target(&exchange.target);
            exchange.host = exchange.host.as_deref().map(|host| self.host(host));
        }
        if let Some(http) = &mut app.http {
            for operation in &mut http.not_kept {
                if !METHODS.contains(&operation.method.as_ref()) && operation.pattern.is_some() {
                    operation.method = "METHOD".into();
                }
                let pattern = operation.pattern.as_ref();
                operation.pattern = pattern.map(|pattern| format!("/{}", self.name(pattern)));
            }
            http.server = http.server.as_deref().map(product);
        }
        if let Some(tls) = &mut app.tls {
            tls.sni = tls.sni.as_deref().map(|name| self.host(name));
            for protocol in &mut tls.alpn {
                if !ALPN.contains(&protocol.as_str()) {
                    *protocol = self.name(protocol);
                }
            }
        }
        for exchange in &mut app.dns {
            exchange.name = self.name(&exchange.name);
        }
        if let Some(unasked) = &mut app.dns_unasked {
            unasked.name = self.name(&unasked.name);
        }
        if let Some(calls) = &mut app.calls {
            let of_kept = calls.kept.iter_mut().map(|call| &mut call.operation);
            let counted = calls.operations.iter_mut();
            let counted = counted.filter_map(|one| one.operation.as_mut());
            for operation in of_kept.chain(counted) {
                *operation = self.operation(operation);
            }
        }
        // Messages quote accounts, tables and statements; the code is enough.
        for error in app
            .service
            .iter_mut()
            .flat_map(|service| &mut service.errors)
        {
            error.message.clear();
        }
    }

    /// An operation of a service: its first word is a command, all else may name something.
    fn operation(&self, operation: &str) -> String {
        match operation.split_once(' ') {
            Some((command, rest)) => format!("{command} {}", self.name(rest)),
            None => operation.to_owned(),
        }
    }

    /// A request target: those of one pattern have one path, and equal ones are equal.
    fn target(&self, target: &str) -> String {
        let pattern = pattern(target);
        let path = self.name(&pattern);
        if pattern == target {
            return format!("/{path}");
        }
        format!("/{path}?{}", self.name(target))
    }

    /// A host with its port; an address is left to the mapping of addresses.
    fn host(&self, host: &str) -> String {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (name, Some(port))
            }
            _ => (host, None),
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<std::net::IpAddr>().is_ok() {
            return host.to_owned();
        }
        let name = self.name(name.trim_end_matches('.'));
        port.map_or_else(|| name.clone(), |port| format!("{name}:{port}"))
    }
}

/// `nginx/1.27 (Ubuntu)` is `nginx`; what is not known is nothing but a product.
fn product(server: &str) -> String {
    let known = PRODUCTS.iter().find(|product| {
        server
            .get(..product.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(product))
    });
    (*known.unwrap_or(&"another product")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use analyzer::app::{At, ServiceError, ServiceErrorKind, ServiceFacts, ServiceProtocol};
    use analyzer::{Direction, Timestamp};

    #[test]
    fn hosts_keep_their_port_and_equal_names_stay_equal() {
        let redactor = Redactor::new(b"test");
        let name = redactor.name("shop.example");
        assert_eq!(redactor.host("Shop.Example:8080"), format!("{name}:8080"));
        assert_eq!(redactor.host("shop.example."), name);
        assert_eq!(redactor.host("10.9.0.2:80"), "10.9.0.2:80");
        assert_eq!(redactor.host("[2001:db8::1]:80"), "[2001:db8::1]:80");
    }

    #[test]
    fn messages_of_services_are_left_out() {
        let error = ServiceError {
            direction: Direction::ServerToClient,
            code: "1045".to_owned(),
            message: "Access denied for user 'anna'".to_owned(),
            kind: ServiceErrorKind::Authentication,
            at: At {
                frame: 1,
                time: Timestamp::default(),
            },
            count: 1,
        };
        let facts = ServiceFacts {
            protocol: ServiceProtocol::MySql,
            errors: vec![error],
            not_kept: 0,
        };
        let mut app = AppFacts {
            service: Some(Box::new(facts)),
            ..AppFacts::default()
        };
        Redactor::new(b"test").app(&mut app);
        let errors = app.service.unwrap().errors;
        assert_eq!(
            (errors[0].code.as_str(), errors[0].message.as_str()),
            ("1045", "")
        );
    }

    #[test]
    fn operations_keep_their_command() {
        let redactor = Redactor::new(b"test");
        let masked = redactor.operation("SELECT name FROM payroll");
        assert!(masked.starts_with("SELECT name-"), "{masked}");
        assert_eq!(masked, redactor.operation("SELECT name FROM payroll"));
        assert_ne!(masked, redactor.operation("SELECT name FROM orders"));
        assert_eq!(redactor.operation("GET"), "GET");
    }

    #[test]
    fn products_lose_their_versions() {
        assert_eq!(product("nginx/1.27.1 (Ubuntu)"), "nginx");
        assert_eq!(product("acme-internal/3"), "another product");
    }
}
