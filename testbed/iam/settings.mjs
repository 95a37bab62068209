// What the environment says, checked once.  A wrong setting ends the program with one sentence.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

const KID = 'roost-iam-1';

export class BadSetting extends Error {}

function needed(name, what) {
  const value = process.env[name];
  if (!value) throw new BadSetting(`${name} is not set; it must name ${what}.`);
  return value;
}

function file(name, what) {
  const path = needed(name, what);
  try {
    return readFileSync(path);
  } catch (error) {
    throw new BadSetting(`${name} names ${path}, which cannot be read (${error.code}); it must name ${what}.`);
  }
}

// A JSON list: the path of a file that holds one, or the list itself.
function list(name, what) {
  const given = needed(name, what);
  const text = given.trimStart().startsWith('[') ? given : file(name, what).toString();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new BadSetting(`${name} is not JSON; it must be ${what}.`); // its text may hold secrets
  }
  if (!Array.isArray(value)) throw new BadSetting(`${name} must be a JSON list: ${what}.`);
  return value;
}

// The signing key and the cookie key.  With a path they outlive a restart, so that tokens issued
// before it still verify after it.
function keys(path) {
  if (path && existsSync(path)) return JSON.parse(readFileSync(path, 'utf8'));
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const made = {
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: KID, use: 'sig', alg: 'RS256' }] },
    cookie: randomBytes(32).toString('base64url'),
  };
  if (path) {
    writeFileSync(`${path}.new`, JSON.stringify(made), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }
  return made;
}

export function settings() {
  const issuer = needed('IAM_ISSUER', 'the issuer, as https://host:port');
  if (!issuer.startsWith('https://')) {
    throw new BadSetting(`IAM_ISSUER is ${issuer}; it must be an https:// URL: tokens never travel in the clear.`);
  }
  return {
    issuer,
    tls: {
      key: file('IAM_TLS_KEY', 'the private key of the host in PEM form'),
      cert: file('IAM_TLS_CERT', 'the certificate of the host in PEM form'),
    },
    port: Number(process.env.IAM_PORT || new URL(issuer).port || 443),
    bind: process.env.IAM_BIND || '0.0.0.0',
    people: list('IAM_PEOPLE', 'a list of {name, subject, password, groups, email}'),
    clients: list('IAM_CLIENTS', 'a list of {client_id, client_secret, redirect_uris, grant_types, access_token_ttl?}'),
    modules: process.env.IAM_MODULES || '/opt/npm/node_modules',
    keys: keys(process.env.IAM_KEYS),
    state: process.env.IAM_STATE, // where grants survive a restart; unset: they do not
  };
}
