// Node.js loads this before configurable-http-proxy: an answer that breaks off breaks off for its
// listener, too.  The proxy itself keeps the listener's connection open for ever, and a browser
// would not learn that the hub of its event stream was restarted.
"use strict";
const http = require("node:http");

const pipe = http.IncomingMessage.prototype.pipe;
http.IncomingMessage.prototype.pipe = function (target, ...options) {
  if (target instanceof http.ServerResponse) {
    this.once("close", () => {
      if (!this.complete) target.destroy();
    });
  }
  return pipe.call(this, target, ...options);
};
