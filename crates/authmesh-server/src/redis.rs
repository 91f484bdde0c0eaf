//! From the configuration to an adapter for Redis.

use authmesh_redis::{ConnectError, RedisConfig};

use crate::config::Config;

/// The settings of the adapter; `None` where no Redis is configured.
///
/// # Errors
/// When the adapter refuses a setting.
pub(crate) fn settings(config: &Config) -> Result<Option<RedisConfig>, ConnectError> {
    let Some(redis) = &config.redis else {
        return Ok(None);
    };
    let Some((first, more)) = redis.urls.split_first() else {
        return Ok(None);
    };
    let mut settings = RedisConfig::new(first)?
        .seeds(more)?
        .cluster(&config.cluster.name)
        .prefix(&redis.prefix)
        .log_entries(redis.log_entries)
        .connect_timeout(redis.connect_timeout)
        .response_timeout(redis.response_timeout)
        .danger_any_eviction_policy(config.danger.any_eviction_policy);
    if let Some(username) = &redis.username {
        settings = settings.username(username);
    }
    if let Some(path) = &redis.password_file {
        settings = settings.password_file(path);
    }
    if let Some(path) = &redis.ca_file {
        settings = settings.ca_file(path);
    }
    if let Some((certificate, key)) = &redis.client_certificate {
        settings = settings.client_certificate(certificate, key);
    }
    Ok(Some(settings))
}
