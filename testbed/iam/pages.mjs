// The pages that people see: login, and errors.
const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const STYLE = `
  :root { color-scheme: light dark; --ink: #1c2733; --paper: #fff; --ground: #eef2f6; --line: #8a97a5;
          --accent: #0b5cad; --on-accent: #fff; --bad: #a3150f; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e6edf3; --paper: #1b232c; --ground: #10161c; --line: #6b7886; --accent: #6cb2f5;
            --on-accent: #0b1218; --bad: #ff9d96; }
  }
  * { box-sizing: border-box; }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
         background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
  main { width: 100%; max-width: 24rem; padding: 2rem; background: var(--paper); border-radius: .75rem;
         box-shadow: 0 1px 3px #0003, 0 8px 24px #0001; }
  h1 { margin: 0 0 .25rem; font-size: 1.375rem; }
  p { margin: 0 0 1.25rem; }
  label { display: block; margin-bottom: .25rem; font-weight: 600; }
  input { width: 100%; margin-bottom: 1rem; padding: .625rem .75rem; font: inherit; color: inherit;
          background: transparent; border: 1px solid var(--line); border-radius: .375rem; }
  button { width: 100%; padding: .7rem; font: inherit; font-weight: 600; color: var(--on-accent);
           background: var(--accent); border: 0; border-radius: .375rem; cursor: pointer; }
  input:focus-visible, button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
  .bad { padding: .625rem .75rem; color: var(--bad); border: 1px solid; border-radius: .375rem; }
`;

function page(title, body) {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
${body}
</main>
</body>
</html>
`;
}

export function loginPage({ client, username = '', wrong = false }) {
  const sentence = wrong
    ? '<p class="bad" id="wrong" role="alert">This username and password do not belong together. Please try again.</p>'
    : '';
  const described = wrong ? ' aria-describedby="wrong" aria-invalid="true"' : '';
  return page('Testbed IAM: log in', `<h1>Testbed IAM</h1>
<p>Log in to go on to <strong>${escape(client)}</strong>.</p>
${sentence}
<form method="post" autocomplete="off">
<label for="username">Username</label>
<input id="username" name="username" value="${escape(username)}" autocomplete="username" autocapitalize="none"
 spellcheck="false" required${described}${username ? '' : ' autofocus'}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 required${described}${username ? ' autofocus' : ''}>
<button type="submit">Log in</button>
</form>`);
}

export function errorPage(error, description) {
  return page('Testbed IAM: this did not work', `<h1>This did not work</h1>
<p class="bad" role="alert">${escape(description || error)}</p>
<p>Go back to where you came from and start again.</p>`);
}
