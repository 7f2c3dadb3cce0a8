import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2022, sourceType: "script", globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "no-implied-eval": "error", "no-eval": "error", "no-new-func": "error", "no-script-url": "error",
      "eqeqeq": "error", "no-var": "error", "prefer-const": "error", "no-shadow": ["error", { builtinGlobals: false }],
      // texts of studies come from strangers: they are put in as texts only
      "no-restricted-properties": ["error",
        ...["innerHTML", "outerHTML", "insertAdjacentHTML", "write", "writeln"].map((property) => ({ property }))],
    },
  },
];
