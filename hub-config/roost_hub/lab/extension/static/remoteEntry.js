// JupyterLab loads this as a federated extension: an object with `init` and `get`.  Written by
// hand, so that there is nothing to build.
(() => {
  const SOON = 2000, SELDOM = 60000; // ms; the browser itself retries a stream that broke off
  const SILENCE = 45000; // ms; the hub repeats itself every 20 s, and some proxies hide that it is gone

  function url(config) {
    const user = encodeURIComponent(config.hubUser);
    const server = config.hubServerName;
    const named = server ? `/servers/${encodeURIComponent(server)}` : "";
    return `${config.hubPrefix.replace(/\/$/, "")}/api/roost/v1/servers/${user}${named}`;
  }

  const said = new Set();
  let pause = SOON, shown = null, over = false;

  // One notification: what is newest takes the place of what was said before.
  async function tell(app, message, type) {
    const options = { message, type, options: { autoClose: false } };
    const id = await shown;
    const there = id && app.commands.hasCommand("apputils:update-notification");
    if (there && (await app.commands.execute("apputils:update-notification", { id, ...options }))) return;
    shown = app.commands.execute("apputils:notify", options);
  }

  function end(app, status) {
    over = true;
    const message = status.why ? `Your session has ended: ${status.why}` : "Your session has ended.";
    if (said.has(message)) return;
    said.add(message);
    tell(app, message, "error");
  }

  function hear(app, status) {
    if (status.over) return end(app, status);
    for (const notice of status.notices) {
      if (said.has(notice.message)) continue;
      said.add(notice.message);
      tell(app, notice.message, notice.level === "warning" ? "warning" : "info");
      if (status.state === "evicting" && app.commands.hasCommand("docmanager:save-all")) {
        app.commands.execute("docmanager:save-all");
      }
    }
  }

  function listen(app, config) {
    const stream = new EventSource(`${url(config)}/events`);
    let silence;
    const again = (after) => {
      clearTimeout(silence);
      silence = setTimeout(() => {
        stream.close();
        listen(app, config);
      }, after);
    };
    again(SILENCE);
    stream.onmessage = (event) => {
      pause = SOON;
      again(SILENCE);
      hear(app, JSON.parse(event.data));
    };
    stream.onerror = async () => {
      if (over) {
        clearTimeout(silence);
        stream.close();
        return;
      }
      // Closed for good: the hub is just starting, or refuses, or the session has ended meanwhile.
      // Ask again, more and more seldom.
      if (stream.readyState !== EventSource.CLOSED) return;
      again(pause);
      pause = Math.min(2 * pause, SELDOM);
      try {
        const answer = await fetch(url(config), { cache: "no-store" });
        const status = answer.ok ? await answer.json() : {};
        if (!status.over) return;
        clearTimeout(silence);
        end(app, status);
      } catch { /* the hub is away */ }
    };
  }

  const plugin = {
    id: "roost-notices:plugin",
    autoStart: true,
    activate: (app) => {
      const page = document.getElementById("jupyter-config-data");
      const config = page ? JSON.parse(page.textContent) : {};
      if (config.hubPrefix && config.hubUser) app.started.then(() => listen(app, config));
    },
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["roost-notices"] = {
    init: () => {},
    get: () => Promise.resolve(() => ({ __esModule: true, default: plugin })),
  };
})();
