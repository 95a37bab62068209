// The testbed's identity provider: npm oidc-provider behind TLS.  Settings come from the
// environment: IAM_ISSUER, IAM_TLS_KEY, IAM_TLS_CERT, IAM_PEOPLE, IAM_CLIENTS, and optionally
// IAM_PORT, IAM_BIND, IAM_KEYS, IAM_STATE, IAM_MODULES (see settings.mjs).
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { Accounts } from './accounts.mjs';
import { tokenExchange } from './exchange.mjs';
import { loginRoutes } from './login.mjs';
import { configuration, impliedConsent } from './provider.mjs';
import { BadSetting, settings } from './settings.mjs';
import { Store } from './store.mjs';

const log = (line) => process.stdout.write(`${new Date().toISOString()} ${line}\n`);

async function library(modules) {
  // Its advice for production (a newer Node.js, settings left at their defaults) is noise here.
  console.info = () => {};
  console.warn = () => {};
  let path;
  try {
    path = createRequire(join(modules, 'anchor.js')).resolve('oidc-provider');
  } catch {
    throw new BadSetting(`IAM_MODULES is ${modules}, where npm's oidc-provider is not installed.`);
  }
  return import(pathToFileURL(path));
}

// One line for each token, never the token.
function watch(provider) {
  const issued = (token) => log(
    `token client=${token.clientId} sub=${token.accountId ?? token.clientId} aud=${token.aud ?? '-'} `
    + `grant=${token.gty ?? 'client_credentials'} scopes="${token.scope ?? ''}"`,
  );
  const refused = (what) => (ctx, error) => log(
    `${what} refused client=${ctx.oidc?.client?.clientId ?? '-'}: ${error.error ?? error.name}`
    + ` (${error.error_detail ?? error.error_description ?? ''})`,
  );
  provider.on('access_token.issued', issued);
  provider.on('access_token.saved', issued); // those for the userinfo endpoint are no JWT
  provider.on('client_credentials.issued', issued);
  provider.on('grant.revoked', (ctx, id) => log(`grant revoked client=${ctx.oidc?.client?.clientId ?? '-'}`));
  provider.on('grant.error', refused('grant'));
  provider.on('authorization.error', refused('authorization'));
  provider.on('revocation.error', refused('revocation'));
  provider.on('introspection.error', refused('introspection'));
  provider.on('server_error', (ctx, error) => log(`server error: ${error.stack}`));
}

async function main() {
  const given = settings();
  const { Provider, interactionPolicy, errors } = await library(given.modules);
  const store = new Store(given.state);
  const accounts = new Accounts(given.people);
  const configured = configuration({ ...given, store, accounts, interactionPolicy, errors });
  const provider = new Provider(given.issuer, configured);
  tokenExchange(provider, configured, given.keys, errors);
  provider.use(impliedConsent);
  provider.use(loginRoutes(provider, accounts, log));
  watch(provider);

  const server = createServer({ ...given.tls, minVersion: 'TLSv1.2' }, provider.callback());
  server.on('error', (error) => fail(`Port ${given.port} on ${given.bind} cannot be used (${error.code}).`));
  server.listen(given.port, given.bind, () => log(`ready ${given.issuer}`));
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      store.save();
      process.exit(0);
    });
  }
}

function fail(sentence) {
  process.stderr.write(`${sentence}\n`);
  process.exit(2);
}

main().catch((error) => fail(error instanceof BadSetting ? error.message : error.stack));
