{
  "variables": {
    "lz4": "<!(node -p \"path.relative('', path.dirname(require.resolve('lz4/package.json')))\")/deps/lz4/lib",
    "faultline_sanitize%": ""
  },
  "targets": [
    {
      "target_name": "lz4",
      "type": "static_library",
      "sources": ["<(lz4)/lz4.c", "<(lz4)/lz4hc.c", "<(lz4)/xxhash.c"],
      "cflags": ["-O3", "-fPIC"],
      "cflags!": ["-O2"]
    },
    {
      "target_name": "faultline",
      "dependencies": ["lz4"],
      "sources": ["<!@(printf '%s\\n' native/*.cc)", "native/agent/agent.S", "native/agent/bridge.S"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include\")", "<(lz4)", "native"],
      "defines": ["NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS", "NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags_cc!": ["-fno-rtti", "-std=gnu++17", "-std=gnu++20", "-O2"],
      "cflags_cc": ["-std=c++17", "-O3", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-fvisibility=hidden"],
      "conditions": [
        ["faultline_sanitize!=''", {
          "cflags_cc": ["-fsanitize=<(faultline_sanitize)", "-fno-omit-frame-pointer", "-g"],
          "ldflags": ["-fsanitize=<(faultline_sanitize)"]
        }]
      ]
    },
    {
      "target_name": "faultline-watchdog",
      "type": "executable",
      "sources": ["native/watchdog/watchdog.c"],
      "defines": ["_GNU_SOURCE"],
      "cflags": ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"],
      "ldflags": ["-static"]
    },
    {
      "target_name": "faultline-understudy",
      "type": "executable",
      "sources": ["native/understudy/understudy.c"],
      "defines": ["_GNU_SOURCE"],
      "cflags": ["-std=c11", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror"],
      "ldflags": ["-static", "-pthread"]
    }
  ]
}
